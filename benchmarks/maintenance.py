"""Deletion of old rows: how long the writer waits, and how long it takes in total."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.children import child
from benchmarks.harness import MILLISECONDS, PREFIX, Row, scratch, spread
from benchmarks.publisher import UNLIMITED
from rosey_dbsvc import BotDatabase

ROWS = 1_000_000
INSERT = "INSERT INTO user_count_history (timestamp, chat_users, connected_users) VALUES (0, ?, ?)"
LOADS = {
    "without load": 1.0,
    "under 2,500 events per second": 2_500.0,
    "under 10,000 events per second": 10_000.0,
}
"""Events per second during the deletion; one is as good as none."""
SIZE = 200
"""Size of an event, in bytes."""


def measure(url: str, rounds: int) -> list[Row]:
    """Measure the loads in turn; return two rows for each."""
    runs: dict[str, list[dict[str, float]]] = {load: [] for load in LOADS}
    for _ in range(rounds):
        for load, rate in LOADS.items():
            with scratch() as directory:
                fill(directory / "old.db")
                runs[load].append(delete(url, directory / "old.db", rate))
    return [row for load in LOADS for row in _rows(load, runs[load])]


def _rows(load: str, runs: list[dict[str, float]]) -> list[Row]:
    label = f"{ROWS:,} rows of history deleted {load}"
    longest = spread([MILLISECONDS * run["longest"] for run in runs])
    p99 = max(run["p99"] for run in runs) * MILLISECONDS
    return [
        Row(f"{label}: longest step, ms", longest, f"goal: at most 50, p99 {p99:.3g}"),
        Row(f"{label}: all rows, s", spread([run["seconds"] for run in runs])),
    ]


def fill(path: Path) -> None:
    """Write a history of old rows."""
    BotDatabase(path).close()
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.executemany(INSERT, ((number, number) for number in range(ROWS)))


def delete(url: str, path: Path, rate: float) -> Any:
    """Delete the rows in a service under load; return the durations that it sends."""
    with (
        child("publisher", url, PREFIX, UNLIMITED, rate, SIZE),
        child("timed_retention", url, path, PREFIX) as service,
    ):
        service.read()
        return service.read()
