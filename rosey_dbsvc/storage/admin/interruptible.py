"""Long SQLite statements that signals can interrupt."""

import signal
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

SIGNALS: Final = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
POLL_INTERVAL: Final = 0.1  # in seconds


def execute(conn: sqlite3.Connection, sql: str) -> list[Any]:
    """Return the rows of a statement that a signal can interrupt. Raises sqlite3.Error.

    It runs in another thread, because Python handles no signal before a statement ends. The
    connection must be open to all threads.
    """
    with ThreadPoolExecutor(1) as another_thread:
        try:  # a signal may come as soon as the thread is there
            rows = another_thread.submit(lambda: conn.execute(sql).fetchall())
            while not rows.done():  # a wait without time-out can miss a signal
                wait([rows], POLL_INTERVAL)
            return rows.result()
        except BaseException:
            conn.interrupt()
            raise


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Let signals end the code inside like Ctrl-C, with clean-up and the exit code of a shell."""

    def end(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    handled = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]  # by nohup
    before = {number: signal.signal(number, end) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
