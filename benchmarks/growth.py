"""Events on a large file, and the memory for many pending events."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from benchmarks.events import COUNTS, run_once
from benchmarks.harness import MEGABYTE, Row, scratch, spread
from rosey_dbsvc import BotDatabase

MESSAGES = 5_000_000
USERS = 100_000
AGE = 100 * 3600
"""Age of the oldest message in the file, in seconds: none is deleted."""
PENDING = 1_000_000
SIZE = 100
"""Size of a pending event, in bytes."""


def measure(url: str, rounds: int) -> list[Row]:
    """Measure a large file in turn with an empty one, and then the memory."""
    with scratch() as directory:
        return [_large_file(url, directory, rounds), _memory(url, directory, max(1, rounds // 2))]


def _large_file(url: str, directory: Path, rounds: int) -> Row:
    large = directory / "large.db"
    fill(large)
    rates: dict[str, list[float]] = {"empty": [], "large": []}
    for turn in range(rounds):
        empty = directory / f"empty{turn}.db"
        for name, path in (("empty", empty), ("large", large)):
            rates[name].append(run_once(url, "service", path, COUNTS["service"])["rate"])
    size = large.stat().st_size / MEGABYTE
    on_empty, on_large = spread(rates["empty"]), spread(rates["large"])
    return Row(
        f"chat messages per second, on a file of {MESSAGES:,} and {USERS:,} users ({size:,.0f} MB)",
        on_large,
        f"{on_large.median / on_empty.median:.2f} × an empty file",
    )


def _memory(url: str, directory: Path, rounds: int) -> Row:
    runs = [
        run_once(url, "service", directory / f"pending{turn}.db", PENDING, size=SIZE)
        for turn in range(rounds)
    ]
    return Row(
        f"peak memory for {PENDING:,} pending events of {SIZE} bytes, MB",
        spread([run["peak_memory"] / MEGABYTE for run in runs]),
        f"{sum(run['lost'] for run in runs)} lost, in {rounds} runs",
    )


def fill(path: Path) -> None:
    """Write users, and the messages of the last 100 hours."""
    BotDatabase(path).close()
    begin = int(time.time()) - AGE
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.executemany(
            "INSERT INTO user_stats (username, first_seen, last_seen) VALUES (?, 0, 0)",
            ((f"somebody{number}",) for number in range(USERS)),
        )
        conn.executemany(
            "INSERT INTO recent_chat (timestamp, username, message) VALUES (?, ?, ?)",
            (
                (begin + number * AGE // MESSAGES, f"somebody{number % USERS}", f"line {number}")
                for number in range(MESSAGES)
            ),
        )
