"""How long the event loop of a bot stands still while events arrive."""

from benchmarks.machinery import Row, Server, child, folder, spread

EVENTS = 20_000
NAMES = {
    "listing": "calls made on the loop",
    "ceiling": "nats-py's iterator, an empty loop",
    "service": "**this service** in the same loop",
}
MILLISECONDS = 1e3


def measure(server: Server, rounds: int) -> list[Row]:
    """Return a row for p99 and one for the longest, for each that is compared."""
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in NAMES}
    for _ in range(rounds):
        for name in NAMES:
            with (
                folder() as place,
                child("ticker", name, server.url, place / "b.db", "bench.db", EVENTS) as ticker,
            ):
                ticker.says()
                with child("publisher", server.url, "bench.db", EVENTS, 0, 200):
                    seen[name].append(ticker.says())
    return [
        Row(
            f"stall of the loop in a flood of {EVENTS:,}, {what}, ms: {NAMES[name]}",
            spread([MILLISECONDS * each[what] for each in seen[name]]),
            "",
        )
        for what in ("p99", "longest")
        for name in NAMES
    ]
