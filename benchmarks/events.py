"""Events persisted per second."""

from pathlib import Path
from typing import Any

from benchmarks.machinery import Row, Server, Spread, child, folder, spread

SIZE = 200
COUNTS = {"direct": 3_000, "listing": 3_000, "service": 100_000, "adopted": 100_000}
COUNTS["ceiling"] = COUNTS["service"]

NAMES = {
    "direct": "direct calls, one by one",
    "listing": "a service as the specification lists it",
    "service": "**this service**",
    "adopted": "**this service**, that database adopted",
    "ceiling": "nats-py's iterator, an empty loop",
}


def run_once(
    server: Server, name: str, path: Path, count: int, size: int = SIZE, prefix: str = "bench.db"
) -> dict[str, Any]:
    """Let a contender persist so many events; return its rate, what was lost and its memory."""
    with child("contender", name, server.url, path, prefix, count, size) as contender:
        began = contender.says().get("began")
        if began is None:
            with child("publisher", server.url, prefix, count, 0, size) as publisher:
                began = publisher.says()
                ended = contender.says()
        else:
            ended = contender.says()
    rate = ended["applied"] / (ended["ended"] - began)
    return {"rate": rate, "lost": count - ended["applied"], "rss": ended["rss"]}


def measure(server: Server, rounds: int) -> list[Row]:
    """Return a row for each contender, measured in turns."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in NAMES}
    for _ in range(rounds):
        for name in NAMES:
            with folder() as place:
                runs[name].append(run_once(server, name, place / "bench.db", COUNTS[name]))
    rates = {name: spread([run["rate"] for run in runs[name]]) for name in NAMES}
    lost = {name: sum(run["lost"] for run in runs[name]) for name in NAMES}
    return [_row(name, rates, lost[name]) for name in NAMES]


def _row(name: str, rates: dict[str, Spread], lost: int) -> Row:
    rate = rates[name].median
    return Row(
        f"lines of chat a second: {NAMES[name]}",
        rates[name],
        f"{rate / rates['direct'].median:.1f} × direct,"
        f" {rate / rates['ceiling'].median:.2f} × iterator, {lost} lost",
    )
