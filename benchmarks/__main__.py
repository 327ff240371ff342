"""Measure the performance, and print a Markdown table; build/bench/results.json has the same."""

import argparse
import json
import os
import platform
import sqlite3
from importlib.metadata import version

from benchmarks import durable, events, growth, maintenance, process, queries, stalls, statements
from benchmarks.harness import SCRATCH, Row, nats_server

MEASURES = {
    "events": events.measure,
    "queries": queries.measure,
    "stalls": stalls.measure,
    "growth": growth.measure,
    "durable": durable.measure,
    "process": process.measure,
    "statements": statements.measure,
    "maintenance": maintenance.measure,
}


def main() -> None:
    """Run the named measures, or all."""
    options = parse_options()
    rows: list[Row] = []
    for name in options.measures or MEASURES:
        with nats_server() as url:
            rows += MEASURES[name](url, options.rounds)
    print_table(rows, options.rounds)
    write_json(rows)


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = ", ".join(MEASURES)
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"{names} (default: all)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="runs of each variant (default: %(default)s)"
    )
    options = parser.parse_args()
    if unknown := set(options.measures) - set(MEASURES):
        parser.error(f"unknown measure {unknown.pop()}: expected {names}")
    return options


def print_table(rows: list[Row], rounds: int) -> None:
    """Print the table of docs/performance.md."""
    print(f"\n{machine()}. {rounds} rounds: median, lowest and highest.\n")
    print("| measurement | median (lowest–highest) | compared with |\n| --- | --- | --- |")
    for row in rows:
        print(f"| {row.measurement} | {row.spread} | {row.compared_with} |")


def write_json(rows: list[Row]) -> None:
    """Write the results to a file."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    file = SCRATCH / "results.json"
    described = [{**row._asdict(), "spread": row.spread._asdict()} for row in rows]
    file.write_text(json.dumps({"machine": machine(), "rows": described}, indent=2))
    print(f"\nAs JSON: {file}")


def machine() -> str:
    """Describe the machine and the versions."""
    parts = [f"{name} {version(name)}" for name in ("nats-py", "anyio", "uvloop")]
    python = platform.python_version()
    return (
        f"{os.cpu_count()} cores, {platform.system()}, Python {python}, "
        f"SQLite {sqlite3.sqlite_version}, {', '.join(parts)}"
    )


if __name__ == "__main__":
    main()
