"""Time to write a chat message, alone and beside a thread that is busy with Python code."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext

from benchmarks.harness import MICROSECONDS, Row, scratch, spread
from rosey_dbsvc import BotDatabase
from rosey_dbsvc.storage.sqlite.base import MAX_ROWS
from rosey_dbsvc.storage.sqlite.chat import Line

MESSAGES = 2_000
COUNT = "UPDATE user_stats SET total_chat_lines = total_chat_lines + 1 WHERE username = ?"
INSERT = "INSERT INTO recent_chat (timestamp, username, message) VALUES (0, ?, ?)"

Write = Callable[[BotDatabase, Sequence[Line]], None]


def measure(_: str, rounds: int) -> list[Row]:
    """Measure each way to write, alone and beside a busy thread."""
    rows = []
    messages = [(time.time(), f"user{n % 100}", f"{n} " + "x" * 150) for n in range(MESSAGES)]
    with scratch() as directory, closing(BotDatabase(directory / "bench.db")) as database:
        for place, context in PLACES.items():
            for way, write in WAYS.items():
                with context():
                    times = [_time(write, database, messages) for _ in range(rounds)]
                rows.append(Row(f"one chat message, {place}, µs: {way}", spread(times)))
    return rows


def one_by_one(database: BotDatabase, messages: Sequence[Line]) -> None:
    for _, username, message in messages:
        database.conn.execute(COUNT, (username,))
        database.conn.execute(INSERT, (username, message))
    database.conn.rollback()


def executemany(database: BotDatabase, messages: Sequence[Line]) -> None:
    database.conn.executemany(COUNT, ((username,) for _, username, _ in messages))
    database.conn.executemany(INSERT, ((username, message) for _, username, message in messages))
    database.conn.rollback()


def many_rows(database: BotDatabase, messages: Sequence[Line]) -> None:
    database.user_chat_messages(messages)


@contextmanager
def busy_thread() -> Iterator[None]:
    """Run a thread that holds the GIL like an event loop during a burst."""
    stopped = threading.Event()

    def spin() -> None:
        while not stopped.is_set():
            sum(range(200))

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


PLACES: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "alone": nullcontext,
    "beside a busy thread": busy_thread,
}
WAYS: dict[str, Write] = {
    "one call per message": one_by_one,
    "executemany": executemany,
    f"**one statement for {MAX_ROWS}**, with commit": many_rows,
}


def _time(write: Write, database: BotDatabase, messages: Sequence[Line]) -> float:
    begun = time.perf_counter()
    write(database, messages)
    return (time.perf_counter() - begun) * MICROSECONDS / MESSAGES
