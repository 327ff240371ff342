"""How far a database has come in a stream."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.databases import OldBotDatabase, SpecDatabase, locked, select

from rosey_dbsvc import BotDatabase, Durable, adopt
from rosey_dbsvc.errors import CannotOpen, NotAdoptable
from rosey_dbsvc.operations.base import UserJoined
from rosey_dbsvc.storage.cursor import BEGINNING, Cursor, FileCursor, Position, TableCursor
from rosey_dbsvc.storage.opening import opened
from rosey_dbsvc.storage.storage import Received, Storage

CURSOR = "SELECT stream, created, sequence FROM rosey_dbsvc_cursor"


def events(first: int, last: int) -> list[Received]:
    return [
        Received(UserJoined(username=f"user{number}"), 0.0, 10, Position(number, number * 1000))
        for number in range(first, last + 1)
    ]


def cursor_of(storage: Storage) -> Cursor:
    assert storage.cursor is not None
    return storage.cursor


@pytest.fixture
def storage(path: Path) -> Iterator[Storage]:
    with opened(str(path), BotDatabase, Durable()) as storage:
        cursor_of(storage).begin("monday")
        yield storage


def test_the_cursor_moves_in_the_transaction_of_the_events(storage: Storage, path: Path) -> None:
    assert storage.apply(events(1, 3), Position(5, 5000)).settled == 3
    assert select(path, CURSOR) == [("ROSEY_DB", "monday", 5)]
    again = TableCursor(sqlite3.connect(path), "ROSEY_DB")
    assert (again.created, again.position) == ("monday", Position(5, 5000))


def test_a_cursor_that_cannot_be_moved_takes_its_events_with_it(
    storage: Storage, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(cursor_of(storage), "_write", full)
        outcome = storage.apply(events(1, 3), Position(3, 3000))
    assert outcome.settled == 0
    assert isinstance(outcome.obstacle, OSError)
    assert select(path, "SELECT * FROM user_stats") == []
    assert storage.apply(events(1, 3), Position(3, 3000)).settled == 3
    assert select(path, "SELECT count(*) FROM user_stats") == [(3,)]


def test_a_batch_without_events_moves_the_cursor(storage: Storage, path: Path) -> None:
    assert storage.apply([], Position(9, 9000)).obstacle is None
    assert select(path, CURSOR) == [("ROSEY_DB", "monday", 9)]


def test_a_batch_that_is_held_up_moves_nothing(storage: Storage, path: Path) -> None:
    with locked(path):
        assert storage.apply(events(1, 3), Position(3, 3000)).obstacle is not None
        assert storage.apply([], Position(3, 3000)).obstacle is not None
    assert select(path, CURSOR) == []


def test_each_stream_has_a_cursor_of_its_own(path: Path) -> None:
    for stream, sequence in (("ONE", 1), ("OTHER", 2), ("ONE", 3)):
        with opened(str(path), BotDatabase, Durable(stream=stream)) as storage:
            cursor_of(storage).begin("monday")
            storage.apply([], Position(sequence, 0))
    assert select(path, f"{CURSOR} ORDER BY stream") == [
        ("ONE", "monday", 3),
        ("OTHER", "monday", 2),
    ]


class Scripting(OldBotDatabase):
    """Commits in a way that cannot be put off."""

    def user_joined(self, username: str) -> None:
        self.conn.executescript(f"INSERT INTO log (what) VALUES ('{username}'); COMMIT;")


def test_a_database_with_transactions_of_its_own_moves_it_after_the_events(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(str(path), Scripting, Durable()) as storage:
        cursor_of(storage).begin("monday")
        assert storage.apply(events(1, 3), Position(4, 4000)).settled == 3
        assert storage.apply(events(5, 6), Position(6, 6000)).settled == 2
    assert select(path, CURSOR) == [("ROSEY_DB", "monday", 6)]
    assert "after a crash, the last events may be applied twice" in caplog.messages
    assert len(select(path, "SELECT * FROM log")) == 5


def test_a_batch_that_is_not_done_with_moves_it_to_the_last_event_that_is(path: Path) -> None:
    class Sometimes(SpecDatabase):
        def user_joined(self, username: str) -> None:
            if username == "user3":
                raise OSError(28, "No space left on device")
            super().user_joined(username)

    storage = adopt(Sometimes())
    storage.follow("ROSEY_DB", f"{path}.cursor")
    cursor_of(storage).begin("monday")
    outcome = storage.apply(events(1, 5), Position(5, 5000))
    assert (outcome.settled, cursor_of(storage).position) == (2, Position(2, 2000))


def test_a_cursor_file_that_cannot_be_written_is_tried_again_and_no_event_with_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = SpecDatabase()
    storage = adopt(database)
    storage.follow("ROSEY_DB", f"{path}.cursor")
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        outcome = storage.apply(events(1, 2), Position(2, 2000))
    assert (outcome.settled, type(outcome.obstacle)) == (2, OSError)
    assert storage.apply([], Position(2, 2000)).obstacle is None
    assert len(database.calls) == 2


def fail(_: int) -> None:
    raise OSError(5, "Input/output error")


def test_a_file_for_the_cursor_is_beside_the_database(path: Path) -> None:
    with opened(str(path), SpecDatabase, Durable()) as storage:
        cursor_of(storage).begin("monday")
        storage.apply(events(1, 2), Position(2, 2000))
    again = FileCursor(f"{path}.cursor", "ROSEY_DB")
    assert (again.created, again.position) == ("monday", Position(2, 2000))
    assert FileCursor(f"{path}.cursor", "OTHER").position == BEGINNING


def test_an_object_without_a_connection_needs_a_file() -> None:
    with pytest.raises(NotAdoptable, match="cursor_file"):
        adopt(SpecDatabase()).follow("ROSEY_DB", "")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary() | st.sampled_from([b"[]", b"{}", b'{"ROSEY_DB": 1}', b'{"ROSEY_DB": {}}'])
)
def test_a_cursor_file_of_any_content_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "cursor"
    file.write_bytes(content)
    try:
        assert FileCursor(str(file), "ROSEY_DB").position == BEGINNING
    except CannotOpen as refused:
        assert str(refused).isprintable()


def test_a_database_is_closed_without_the_end_of_its_sessions(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(str(path), BotDatabase, Durable()) as storage:
        storage.apply(events(1, 1), Position(1, 1000))
    assert select(path, "SELECT current_session_start FROM user_stats") == [(0,)]
    assert caplog.messages[-1] == "Database connection closed"
    with pytest.raises(sqlite3.ProgrammingError):
        storage.database.conn.execute("SELECT 1")  # type: ignore[attr-defined]


def test_a_database_in_memory_has_a_cursor_for_as_long_as_it_lasts() -> None:
    with opened(":memory:", BotDatabase, Durable()) as storage:
        storage.apply(events(1, 2), Position(2, 2000))
        assert cursor_of(storage).position == Position(2, 2000)
