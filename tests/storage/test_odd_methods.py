"""Adopted databases whose methods treat transactions in odd ways.

Whatever a method does: a bad event is rejected alone, every other event is on disk at least once,
and exactly once from the next batch on; nothing stays locked, and nothing is retried for ever.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storage.backends import joined
from support.databases import OldBotDatabase, select

from rosey_dbsvc import adopt
from rosey_dbsvc.errors import NotADatabase
from rosey_dbsvc.storage.cursor import Position
from rosey_dbsvc.storage.protocol import Received, Storage

BAD = "bad"


def insert(database: OldBotDatabase, name: str) -> None:
    database.conn.execute("INSERT INTO log (what) VALUES (?)", (name,))


def script_that_fails(database: OldBotDatabase, name: str) -> None:
    try:
        if name == BAD:
            database.conn.executescript("SELECT 1; INSERT INTO missing VALUES (1)")
        insert(database, name)
        database.conn.commit()
    except sqlite3.Error:
        database.conn.rollback()
        raise


def commit_then_fail(database: OldBotDatabase, name: str) -> None:
    try:
        if name == BAD:
            database.conn.execute("COMMIT")
            raise KeyError(name)
        insert(database, name)
        database.conn.commit()
    except KeyError:
        database.conn.rollback()
        raise


def conflict_that_rolls_back(database: OldBotDatabase, name: str) -> None:
    database.conn.execute("CREATE TABLE IF NOT EXISTS picky (x UNIQUE ON CONFLICT ROLLBACK)")
    try:
        if name == BAD:
            database.conn.execute("INSERT INTO picky VALUES (1), (1)")
        insert(database, name)
        database.conn.commit()
    except sqlite3.Error:
        database.conn.rollback()
        raise


def own_begin(database: OldBotDatabase, name: str) -> None:
    database.conn.commit()
    database.conn.execute("BEGIN IMMEDIATE")
    insert(database, name)
    if name == BAD:
        database.conn.rollback()
        raise KeyError(name)
    database.conn.commit()


def own_begin_that_hides_its_error(database: OldBotDatabase, name: str) -> None:
    if name == BAD:
        raise KeyError(name)
    try:
        database.conn.execute("BEGIN IMMEDIATE")
        insert(database, name)
        database.conn.commit()
    except sqlite3.Error:
        database.conn.rollback()


def commit_and_go_on(database: OldBotDatabase, name: str) -> None:
    insert(database, name)
    database.conn.execute("COMMIT")
    database.conn.execute("UPDATE log SET what = what")
    if name == BAD:
        database.conn.rollback()
        database.conn.execute("DELETE FROM log WHERE what = ?", (BAD,))
        database.conn.commit()
        raise KeyError(name)
    database.conn.commit()


def script_of_a_cursor(database: OldBotDatabase, name: str) -> None:
    if name == BAD:
        raise KeyError(name)
    insert(database, name)
    database.conn.cursor().executescript("SELECT 1")
    database.conn.execute("UPDATE log SET what = what")
    database.conn.commit()


def left_open(database: OldBotDatabase, name: str) -> None:
    insert(database, name)
    if name == BAD:
        raise KeyError(name)


METHODS = [
    script_that_fails,
    commit_then_fail,
    conflict_that_rolls_back,
    own_begin,
    own_begin_that_hides_its_error,
    commit_and_go_on,
    script_of_a_cursor,
    left_open,
]
Method = Callable[[OldBotDatabase, str], None]


class Odd(OldBotDatabase):
    """Has one of these methods."""

    def __init__(self, path: str, method: Method) -> None:
        super().__init__(path)
        self._method = method

    def user_joined(self, username: str) -> None:
        self._method(self, username)


def apply_all(storage: Storage, received: list[Received]) -> int:
    """Apply as the writer does; return the number of rejections. An obstacle would be for ever."""
    rejections = 0
    for _ in range(len(received) + 2):
        if not received:
            return rejections
        outcome = storage.apply(received, received[-1].position)
        assert outcome.obstacle is None
        rejections += len(outcome.rejections)
        received = received[outcome.settled :]
    raise AssertionError("the batch is never settled")


def events(names: list[str], first: int = 1) -> list[Received]:
    return [
        Received(each.event, each.at, each.size, Position(number, number * 1000))
        for number, each in enumerate(joined(*names), first)
    ]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
@pytest.mark.parametrize("durable", [False, True])
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(bad=st.lists(st.booleans(), min_size=1, max_size=12))
def test_a_bad_event_is_rejected_alone_and_no_other_is_lost(
    tmp_path_factory: pytest.TempPathFactory, method: Method, durable: bool, bad: list[bool]
) -> None:
    path = tmp_path_factory.mktemp("odd") / "bot_data.db"
    names = [BAD if is_bad else f"n{number}" for number, is_bad in enumerate(bad)]
    good = [name for name in names if name != BAD]
    with closing(Odd(str(path), method)) as database:
        storage = adopt(database)
        if durable:
            storage.follow("ROSEY_DB")
        assert apply_all(storage, events(names)) == bad.count(True)
        if storage.cursor is not None:
            assert storage.cursor.position.sequence == len(names)
        logged = [what for (what,) in select(path, "SELECT what FROM log ORDER BY id")]
        assert list(dict.fromkeys(logged)) == good, "in order, and at least once"
        commits_batches = storage.commits_batches
        more = [f"m{number}" for number in range(5)]
        assert apply_all(storage, events(more, len(names) + 1)) == 0
        after = [what for (what,) in select(path, "SELECT what FROM log ORDER BY id")]
        assert list(dict.fromkeys(after)) == [*good, *more]
        if not commits_batches:
            assert after == [*logged, *more], "exactly once, after it was noticed"
        with closing(sqlite3.connect(path, timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")
        storage.release()


def test_an_exit_in_a_method_leaves_no_transaction_open(path: Path) -> None:
    def leave(database: OldBotDatabase, name: str) -> None:
        insert(database, name)
        if name == BAD:
            raise SystemExit

    with closing(Odd(str(path), leave)) as database:
        storage = adopt(database)
        with suppress(SystemExit):
            storage.apply(joined("alice", BAD))
        assert not database.conn.in_transaction
        storage.release()
    assert select(path, "SELECT what FROM log") == []


def test_a_connection_that_its_owner_closed_is_given_back(path: Path) -> None:
    database = OldBotDatabase(str(path))
    conn = database.conn
    storage = adopt(database)
    conn.close()
    storage.release()
    assert database.conn is conn


def test_a_batch_with_many_bad_events_is_two_transactions(path: Path) -> None:
    begun: list[str] = []
    with closing(Odd(str(path), left_open)) as database:
        database.conn.set_trace_callback(
            lambda sql: begun.append(sql) if sql.startswith("BEGIN") else None
        )
        storage = adopt(database)
        names = [BAD if number % 10 == 0 else str(number) for number in range(1000)]
        outcome = storage.apply(joined(*names))
        assert (outcome.settled, len(outcome.rejections)) == (1000, 100)
        storage.release()
    assert len(begun) == 2


@pytest.mark.parametrize("method", [left_open, commit_then_fail])
def test_a_cursor_that_cannot_be_written_rejects_no_event(path: Path, method: Method) -> None:
    with closing(Odd(str(path), method)) as database:
        storage = adopt(database)
        storage.follow("ROSEY_DB")
        for names in (["a"], [BAD, "b"]):
            database.conn.execute("DROP TABLE IF EXISTS rosey_dbsvc_cursor")
            database.conn.commit()
            outcome = storage.apply(events(names), Position(len(names), 1))
            assert "cannot write the cursor" in str(outcome.obstacle)
            assert [each.event.username for each in outcome.rejections] in ([], [BAD])  # type: ignore[attr-defined]
        storage.release()


def test_a_connection_that_its_owner_closed_is_fatal(path: Path) -> None:
    database = OldBotDatabase(str(path))
    storage = adopt(database)
    storage.apply(joined("alice"))
    database.conn.close()
    outcome = storage.apply(joined("bob"))
    assert outcome.rejections == []
    with pytest.raises(NotADatabase, match="closed database"):
        outcome.raise_if_fatal()


@pytest.mark.parametrize("method", [commit_and_go_on, script_of_a_cursor])
def test_a_transaction_that_ended_and_began_anew_is_noticed(
    path: Path, method: Method, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Odd(str(path), method)) as database:
        storage = adopt(database)
        assert apply_all(storage, events(["a", "b"])) == 0
        assert not storage.commits_batches
        assert "ends transactions by itself" in caplog.text
        before = select(path, "SELECT what FROM log")
        assert apply_all(storage, events(["c", BAD, "d"], 3)) == 1
        assert select(path, "SELECT what FROM log") == [*before, ("c",), ("d",)]
        storage.release()
