"""Long statements that signals can interrupt."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from rosey_dbsvc.storage.admin.interruptible import execute, exit_on_signals

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture(autouse=True)
def _default_sigint() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup may ignore it
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def conn() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as conn:
        yield conn


def send_when_it_runs(conn: sqlite3.Connection, number: signal.Signals) -> None:
    sent: list[int] = []

    def send() -> None:
        if not sent:
            sent.append(number)
            os.kill(os.getpid(), number)

    conn.set_progress_handler(send, 1000)


def test_a_statement_gives_its_rows(conn: sqlite3.Connection) -> None:
    assert execute(conn, "SELECT 1 UNION SELECT 2") == [(1,), (2,)]


def test_an_error_is_the_statement_s_own(conn: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        execute(conn, "SELECT * FROM missing")


def test_ctrl_c_interrupts_it(conn: sqlite3.Connection) -> None:
    send_when_it_runs(conn, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        execute(conn, ENDLESS)
    assert execute(conn, "SELECT 1") == [(1,)]


def test_sigterm_interrupts_it_with_the_exit_code_of_a_shell(conn: sqlite3.Connection) -> None:
    send_when_it_runs(conn, signal.SIGTERM)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, exit_on_signals():
        execute(conn, ENDLESS)
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
