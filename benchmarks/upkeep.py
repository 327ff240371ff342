"""How long the writer waits while what is old goes, and how long that takes."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.machinery import Row, Server, child, folder, spread
from rosey_dbsvc import BotDatabase

OLD = 1_000_000
MILLISECONDS = 1e3
INSERT = "INSERT INTO user_count_history (timestamp, chat_users, connected_users) VALUES (0, ?, ?)"
RATES = {"no": 1.0, "2,500": 2500.0, "10,000": 10_000.0}
"""How many events a second come meanwhile."""
ENOUGH = 10_000_000


def measure(server: Server, rounds: int) -> list[Row]:
    """Return two rows for each rate."""
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in RATES}
    for _ in range(rounds):
        for name, rate in RATES.items():
            with folder() as place:
                fill(place / "old.db")
                seen[name].append(sweep(server, place / "old.db", rate))
    rows = []
    for name, runs in seen.items():
        what = f"{OLD:,} rows of history deleted while {name} events a second come"
        p99 = max(run["p99"] for run in runs) * MILLISECONDS
        longest = spread([MILLISECONDS * run["longest"] for run in runs])
        rows += [
            Row(f"{what}: the longest step, ms", longest, f"50 wished, p99 {p99:.3g}"),
            Row(f"{what}: all of it, s", spread([run["seconds"] for run in runs]), ""),
        ]
    return rows


def fill(path: Path) -> None:
    """Write a history that is all old."""
    BotDatabase(path).close()
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.executemany(INSERT, ((number, number) for number in range(OLD)))


def sweep(server: Server, path: Path, rate: float) -> Any:
    """Return what a service says of the steps that it took."""
    with (
        child("publisher", server.url, "bench.db", ENOUGH, rate, 200),
        child("sweeper", server.url, path, "bench.db") as sweeper,
    ):
        sweeper.says()
        return sweeper.says()
