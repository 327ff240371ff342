"""Stalls of a bot's event loop during a burst of messages."""

from benchmarks.children import child
from benchmarks.harness import MILLISECONDS, PREFIX, Row, scratch, spread

EVENTS = 20_000
SIZE = 200
"""Size of a message, in bytes."""
LABELS = {
    "spec_listing": "direct calls on the loop",
    "iterator": "nats-py's iterator, an empty loop",
    "service": "**this service** in the same loop",
}


def measure(url: str, rounds: int) -> list[Row]:
    """Measure the variants in turn; return the p99 and the longest stall of each."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in LABELS}
    for _ in range(rounds):
        for name in LABELS:
            runs[name].append(_run(url, name))
    return [
        Row(
            f"stall of the event loop during a burst of {EVENTS:,} messages, {key}, ms: {label}",
            spread([MILLISECONDS * run[key] for run in runs[name]]),
        )
        for key in ("p99", "longest")
        for name, label in LABELS.items()
    ]


def _run(url: str, name: str) -> dict[str, float]:
    with (
        scratch() as directory,
        child("ticker", name, url, directory / "b.db", PREFIX, EVENTS) as ticker,
    ):
        ticker.read()
        with child("publisher", url, PREFIX, EVENTS, 0, SIZE):
            return ticker.read()  # type: ignore[no-any-return]
