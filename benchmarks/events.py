"""Committed chat messages per second."""

from pathlib import Path
from typing import Any

from benchmarks.children import child
from benchmarks.harness import PREFIX, Row, Spread, scratch, spread

SIZE = 200
"""Size of a message, in bytes."""
COUNTS = {
    "direct": 3_000,
    "spec_listing": 3_000,
    "service": 100_000,
    "adopted": 100_000,
    "iterator": 100_000,
}
LABELS = {
    "direct": "direct calls, one by one",
    "spec_listing": "a service written like the specification's listing",
    "service": "**this service**",
    "adopted": "**this service**, with the database of the direct calls adopted",
    "iterator": "nats-py's iterator, an empty loop",
}


def run_once(
    url: str, name: str, path: Path, count: int, size: int = SIZE, prefix: str = PREFIX
) -> dict[str, Any]:
    """Run a variant with this number of events; return its rate, lost events and peak memory."""
    with child("variant", name, url, path, prefix, count, size) as variant:
        begun = variant.read().get("begun")
        if begun is None:  # it needs a publisher
            with child("publisher", url, prefix, count, 0, size) as publisher:
                begun = publisher.read()["begun"]
                result = variant.read()
        else:
            result = variant.read()
    return {
        "rate": result["applied"] / (result["ended"] - begun),
        "lost": count - result["applied"],
        "peak_memory": result["peak_memory"],
    }


def measure(url: str, rounds: int) -> list[Row]:
    """Measure the variants in turn; return a row for each."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in LABELS}
    for _ in range(rounds):
        for name, count in COUNTS.items():
            with scratch() as directory:
                runs[name].append(run_once(url, name, directory / "bench.db", count))
    rates = {name: spread([run["rate"] for run in runs[name]]) for name in LABELS}
    return [_row(name, rates, sum(run["lost"] for run in runs[name])) for name in LABELS]


def _row(name: str, rates: dict[str, Spread], lost: int) -> Row:
    rate = rates[name].median
    return Row(
        f"chat messages per second: {LABELS[name]}",
        rates[name],
        f"{rate / rates['direct'].median:.1f} × direct,"
        f" {rate / rates['iterator'].median:.2f} × iterator, {lost} lost",
    )
