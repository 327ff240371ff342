"""What it costs to write a line of chat, alone and beside a thread that is busy with Python."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from benchmarks.machinery import Row, Server, folder, spread
from rosey_dbsvc import BotDatabase
from rosey_dbsvc.storage.sqlite.base import ROWS_AT_ONCE
from rosey_dbsvc.storage.sqlite.chat import Line

LINES = 2_000
MICROSECONDS = 1e6


def measure(_: Server, rounds: int) -> list[Row]:
    """Return a row for each way, alone and beside a busy thread."""
    rows = []
    with folder() as place, closing(BotDatabase(place / "bench.db")) as database:
        lines: list[Line] = [
            (time.time(), f"user{n % 100}", f"{n} " + "x" * 150) for n in range(LINES)
        ]
        for beside, company in (("alone", _alone), ("beside a busy thread", _busy)):
            for name, write in WAYS.items():
                with company():
                    taken = [_time(write, database, lines) for _ in range(rounds)]
                what = f"a line of chat, {beside}, µs: {name}"
                rows.append(Row(what, spread([MICROSECONDS * each / LINES for each in taken]), ""))
    return rows


def one_by_one(database: BotDatabase, lines: list[Line]) -> None:
    for _, username, message in lines:
        database.conn.execute(
            "UPDATE user_stats SET total_chat_lines = total_chat_lines + 1 WHERE username = ?",
            (username,),
        )
        database.conn.execute(
            "INSERT INTO recent_chat (timestamp, username, message) VALUES (0, ?, ?)",
            (username, message),
        )
    database.conn.rollback()


def executemany(database: BotDatabase, lines: list[Line]) -> None:
    database.conn.executemany(
        "UPDATE user_stats SET total_chat_lines = total_chat_lines + 1 WHERE username = ?",
        ((username,) for _, username, _ in lines),
    )
    database.conn.executemany(
        "INSERT INTO recent_chat (timestamp, username, message) VALUES (0, ?, ?)",
        ((username, message) for _, username, message in lines),
    )
    database.conn.rollback()


def many_rows(database: BotDatabase, lines: list[Line]) -> None:
    database.user_chat_messages(lines)


WAYS: dict[str, Callable[[BotDatabase, list[Line]], None]] = {
    "a call for each": one_by_one,
    "executemany": executemany,
    f"**a statement for {ROWS_AT_ONCE}**, and a commit": many_rows,
}


def _time(
    write: Callable[[BotDatabase, list[Line]], None], database: BotDatabase, lines: list[Line]
) -> float:
    begun = time.perf_counter()
    write(database, lines)
    return time.perf_counter() - begun


@contextmanager
def _alone() -> Iterator[None]:
    yield


@contextmanager
def _busy() -> Iterator[None]:
    """Keep the interpreter as busy as an event loop in a flood."""
    over = threading.Event()

    def spin() -> None:
        while not over.is_set():
            sum(range(200))

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
