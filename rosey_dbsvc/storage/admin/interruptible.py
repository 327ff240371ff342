"""Statements that take long, for people who may lose patience."""

import signal
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

SIGNALS: Final = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


def execute(conn: sqlite3.Connection, sql: str) -> list[Any]:
    """Return the rows of a statement that a signal can break off.

    SQLite holds the thread until it is done; so that is another one. The connection has to be open
    to all threads. Raises sqlite3.Error.
    """
    with ThreadPoolExecutor(1) as another_thread:
        try:  # a signal may come as soon as the thread is there
            return another_thread.submit(lambda: conn.execute(sql).fetchall()).result()
        except BaseException:
            conn.interrupt()
            raise


@contextmanager
def breakable() -> Iterator[None]:
    """Let signals end what is inside as Ctrl-C does, cleaning up, with the exit code of a shell."""

    def end(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
