"""Measure, print a Markdown table, and write the same as JSON."""

import argparse
import json
import os
import platform
import sqlite3
from importlib.metadata import version

from benchmarks import durable, events, growth, process, queries, stalls, statements, upkeep
from benchmarks.machinery import SCRATCH, Row, nats_server

MEASURES = {
    "events": events.measure,
    "queries": queries.measure,
    "stalls": stalls.measure,
    "growth": growth.measure,
    "durable": durable.measure,
    "process": process.measure,
    "statements": statements.measure,
    "upkeep": upkeep.measure,
}


def main() -> None:
    """Run the measures that are named, or all."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=", ".join(MEASURES))
    parser.add_argument("--rounds", type=int, default=5, help="how often each takes its turn")
    wanted = parser.parse_args()
    if unknown := set(wanted.measures) - set(MEASURES):
        parser.error(f"there is no measure {unknown.pop()}")
    rows: list[Row] = []
    for name in wanted.measures or MEASURES:
        with nats_server() as server:
            rows += MEASURES[name](server, wanted.rounds)
    report(rows, wanted.rounds)


def report(rows: list[Row], rounds: int) -> None:
    """Print the table and write the file."""
    print(f"\n{machine()}; {rounds} rounds: medians, the least and the most.\n")
    print("| what | median (least–most) | against |\n| --- | --- | --- |")
    for row in rows:
        print(f"| {row.what} | {row.spread} | {row.against} |")
    SCRATCH.mkdir(parents=True, exist_ok=True)
    file = SCRATCH / "results.json"
    described = [{**row._asdict(), "spread": row.spread._asdict()} for row in rows]
    file.write_text(json.dumps({"machine": machine(), "rows": described}, indent=2))
    print(f"\nAs JSON: {file}")


def machine() -> str:
    """Return what it was measured on."""
    parts = [f"{name} {version(name)}" for name in ("nats-py", "anyio", "uvloop")]
    python = platform.python_version()
    return (
        f"{os.cpu_count()} cores, {platform.system()}, Python {python}, "
        f"SQLite {sqlite3.sqlite_version}, {', '.join(parts)}"
    )


if __name__ == "__main__":
    main()
