"""The position in a stream, kept in the database."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage.backends import joined
from support.databases import locked, select

from rosey_dbsvc import BotDatabase, Durable
from rosey_dbsvc.storage.cursor import (
    BEGINNING,
    Cursor,
    Position,
    followed_stream,
    has_other_history,
)
from rosey_dbsvc.storage.opening import opened

SEQUENCE = st.integers(0, 2**63 - 1)


@pytest.fixture
def conn(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as conn:
        yield conn


def test_it_begins_at_the_beginning_of_a_stream(conn: sqlite3.Connection) -> None:
    cursor = Cursor(conn, "ROSEY_DB")
    assert (cursor.created, cursor.position) == ("", BEGINNING)
    cursor.move(Position(7, 7000))
    cursor.begin("tuesday")
    assert (cursor.created, cursor.position) == ("tuesday", BEGINNING)


@given(sequence=SEQUENCE, stored_at=SEQUENCE, created=st.text(), stream=st.text(min_size=1))
def test_it_is_read_as_it_was_written(
    sequence: int, stored_at: int, created: str, stream: str
) -> None:
    with closing(sqlite3.connect(":memory:")) as conn:
        cursor = Cursor(conn, stream)
        cursor.begin(created)
        cursor.move(Position(sequence, stored_at))
        again = Cursor(conn, stream)
        assert (again.created, again.position) == (created, Position(sequence, stored_at))
        assert followed_stream(conn) == stream


def test_it_is_written_with_the_caller_s_transaction(conn: sqlite3.Connection, path: Path) -> None:
    cursor = Cursor(conn, "ROSEY_DB")
    cursor.move(Position(1, 1000))
    conn.rollback()
    assert select(path, "SELECT * FROM rosey_dbsvc_cursor") == []
    cursor.move(Position(1, 1000))
    conn.commit()
    assert select(path, "SELECT sequence FROM rosey_dbsvc_cursor") == [(1,)]


def test_opening_it_leaves_no_transaction_open(conn: sqlite3.Connection, path: Path) -> None:
    Cursor(conn, "ROSEY_DB")
    assert not conn.in_transaction
    with locked(path):
        pass


def test_a_file_without_its_table_follows_nothing(conn: sqlite3.Connection, path: Path) -> None:
    assert followed_stream(conn) == ""
    assert not has_other_history(conn, "ROSEY_DB")
    assert select(path, "SELECT * FROM sqlite_master") == [], "looking changes nothing"


@pytest.mark.parametrize(("rows", "expected"), [(0, False), (1, False), (2, True)])
def test_a_table_with_more_than_the_row_it_always_has_is_other_history(
    conn: sqlite3.Connection, rows: int, expected: bool
) -> None:
    conn.execute('CREATE TABLE "a ""table""" (number INTEGER)')
    conn.executemany('INSERT INTO "a ""table""" VALUES (?)', [(row,) for row in range(rows)])
    assert has_other_history(conn, "ROSEY_DB") == expected
    cursor = Cursor(conn, "ROSEY_DB")
    assert cursor.has_other_history == expected
    cursor.move(Position(1, 1000))
    assert not has_other_history(conn, "ROSEY_DB")
    assert has_other_history(conn, "OTHER") == expected


def test_a_row_factory_of_its_owner_s_changes_nothing(conn: sqlite3.Connection) -> None:
    Cursor(conn, "ROSEY_DB").move(Position(1, 1000))
    conn.row_factory = lambda *_: "no row"
    assert Cursor(conn, "ROSEY_DB").position == Position(1, 1000)
    assert followed_stream(conn) == "ROSEY_DB"


def test_a_database_in_memory_has_a_cursor_for_as_long_as_it_lasts() -> None:
    with opened(":memory:", BotDatabase, Durable()) as storage:
        storage.apply(joined("alice", "bob"), Position(2, 2000))
        assert storage.cursor is not None
        assert storage.cursor.position == Position(2, 2000)


def test_in_durable_mode_closing_ends_no_sessions(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(str(path), BotDatabase, Durable()) as storage:
        storage.apply(joined("alice"), Position(1, 1000))
    assert select(path, "SELECT current_session_start FROM user_stats") == [(1000,)]
    assert caplog.messages[-1] == "Database connection closed"
    with pytest.raises(sqlite3.ProgrammingError):
        storage.database.conn.execute("SELECT 1")  # type: ignore[attr-defined]
