"""The same on a file with a history, and with a backlog."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from benchmarks.events import COUNTS, run_once
from benchmarks.machinery import Row, Server, folder, spread
from rosey_dbsvc import BotDatabase

LINES = 5_000_000
USERS = 100_000
BACKLOG = 1_000_000
MEGABYTE = 1e6


def measure(server: Server, rounds: int) -> list[Row]:
    """Return a row for a large file and one for the memory that a backlog takes."""
    with folder() as place:
        large = place / "large.db"
        fill(large)
        rates: dict[str, list[float]] = {"empty": [], "large": []}
        for turn in range(rounds):
            empty = place / f"empty{turn}.db"
            for name, path in (("empty", empty), ("large", large)):
                rates[name].append(run_once(server, "service", path, COUNTS["service"])["rate"])
        size = large.stat().st_size / MEGABYTE
        backlog = [
            run_once(server, "service", place / f"backlog{turn}.db", BACKLOG, size=100)
            for turn in range(max(1, rounds // 2))
        ]
    at = {name: spread(taken) for name, taken in rates.items()}
    return [
        Row(
            f"lines of chat a second, on a file of {LINES:,} and {USERS:,} users ({size:,.0f} MB)",
            at["large"],
            f"{at['large'].median / at['empty'].median:.2f} × an empty file",
        ),
        Row(
            f"peak memory for a backlog of {BACKLOG:,} events of 100 bytes, MB",
            spread([run["rss"] / MEGABYTE for run in backlog]),
            f"{sum(run['lost'] for run in backlog)} lost, in {len(backlog)} runs",
        ),
    ]


def fill(path: Path) -> None:
    """Write a history of the last 100 hours."""
    BotDatabase(path).close()
    began = int(time.time()) - 100 * 3600
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.executemany(
            "INSERT INTO user_stats (username, first_seen, last_seen) VALUES (?, 0, 0)",
            ((f"somebody{number}",) for number in range(USERS)),
        )
        conn.executemany(
            "INSERT INTO recent_chat (timestamp, username, message) VALUES (?, ?, ?)",
            (
                (began + number * 360_000 // LINES, f"somebody{number % USERS}", f"line {number}")
                for number in range(LINES)
            ),
        )
