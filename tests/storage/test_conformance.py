"""The protocol of a storage, over every back end."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage.backends import (
    BACKENDS,
    POISON,
    Backend,
    apply_all,
    number_of,
    numbered,
)
from support.databases import locked, select

from rosey_dbsvc import adopt
from rosey_dbsvc.errors import DatabaseInUse, NotADatabase
from rosey_dbsvc.operations.chat import StatsRecentChatGet
from rosey_dbsvc.storage import connect
from rosey_dbsvc.storage.cursor import BEGINNING, Cursor, Position
from rosey_dbsvc.storage.protocol import Received, Storage

pytestmark = pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)

CURSOR = "SELECT stream, created, sequence FROM rosey_dbsvc_cursor ORDER BY stream"
STREAM = "ROSEY_DB"

numbers_with_poison = st.lists(st.integers(0, 99) | st.sampled_from(POISON), max_size=40)


@pytest.fixture
def storage(backend: Backend, path: Path) -> Iterator[Storage]:
    with backend.open(path) as storage:
        yield storage


def follow(storage: Storage) -> Cursor:
    storage.follow(STREAM)
    assert storage.cursor is not None
    if not storage.cursor.created:
        storage.cursor.begin("monday")
    return storage.cursor


def expected(received: list[Received]) -> tuple[list[int], list[int]]:
    """Return the numbers of the messages and of the counts that a database should have."""
    numbers = [number_of(each.event) for each in received]
    kept = [number for number in numbers if number not in POISON]
    return [n for n in kept if n % 6 < 3], [n for n in kept if n % 6 >= 3]


def sequence_on_disk(path: Path) -> int:
    return sum(int(sequence) for (_, _, sequence) in select(path, CURSOR))


def test_events_are_applied_in_order(backend: Backend, storage: Storage, path: Path) -> None:
    received = numbered(*range(1000, 2000))
    outcome = storage.apply(received)
    assert (outcome.settled, outcome.rejections, outcome.obstacle) == (1000, [], None)
    assert backend.stored(path) == expected(received)


def test_a_batch_is_one_transaction(backend: Backend, storage: Storage, path: Path) -> None:
    follow(storage)
    conn, versions = backend.conn(storage), set()
    with closing(sqlite3.connect(path)) as watcher:

        def note(_: str = "") -> None:
            versions.add(watcher.execute("PRAGMA data_version").fetchone()[0])

        conn.set_trace_callback(note)
        storage.apply(numbered(*range(20)), Position(20, 0))
        conn.set_trace_callback(None)
        note()
    assert storage.commits_batches
    assert len(versions) == 2, "before and after its only commit"


@settings(max_examples=30)
@given(numbers=numbers_with_poison)
def test_a_poison_event_costs_only_itself_wherever_it_stands(
    backend: Backend, numbers: list[int]
) -> None:
    with TemporaryDirectory() as folder, backend.open(Path(folder, "bot.db")) as storage:
        received = numbered(*numbers)
        outcome = storage.apply(received)
        assert (outcome.settled, outcome.obstacle) == (len(received), None)
        poison = [each.event for each in received if number_of(each.event) in POISON]
        assert [each.event for each in outcome.rejections] == poison
        assert backend.stored(Path(folder, "bot.db")) == expected(received)


def test_a_locked_file_is_an_obstacle_and_no_event_is_applied(
    backend: Backend, storage: Storage, path: Path
) -> None:
    cursor = follow(storage)
    received = numbered(1, 4, *POISON, 2)
    with locked(path):
        for batch in (received, []):
            outcome = storage.apply(batch, Position(5, 5000))
            assert (outcome.settled, outcome.rejections) == (0, [])
            assert "locked" in str(outcome.obstacle)
    assert (backend.stored(path), sequence_on_disk(path)) == (([], []), 0)
    assert cursor.position == BEGINNING
    assert len(apply_all(storage, received)) == 2
    assert backend.stored(path) == expected(received)


def test_a_full_disk_is_an_obstacle(backend: Backend, storage: Storage, path: Path) -> None:
    received = numbered(*range(100), padding=1000)
    with backend.full_disk(storage):
        outcome = storage.apply(received)
        assert outcome.settled == 0
        assert "full" in str(outcome.obstacle)
        assert backend.stored(path) == ([], [])
    assert storage.apply(received).settled == 100
    assert backend.stored(path) == expected(received)


@settings(max_examples=30)
@given(numbers=numbers_with_poison, free_pages=st.integers(0, 30))
def test_a_disk_that_fills_up_loses_and_doubles_nothing_and_the_cursor_agrees_with_the_rows(
    backend: Backend, numbers: list[int], free_pages: int
) -> None:
    with TemporaryDirectory() as folder, backend.open(Path(folder, "bot.db")) as storage:
        path = Path(folder, "bot.db")
        cursor = follow(storage)
        received = numbered(*numbers, padding=2000)
        with backend.full_disk(storage, free_pages):
            outcome = storage.apply(received, received[-1].position if received else None)
            reached = sequence_on_disk(path)
            assert reached <= outcome.settled
            assert backend.stored(path) == expected(received[:reached])
            assert cursor.position.sequence == reached
        rejected = [each.event for each in outcome.rejections]
        rejected += apply_all(storage, received[outcome.settled :])
        assert rejected == [e.event for e in received if number_of(e.event) in POISON]
        assert backend.stored(path) == expected(received)
        assert sequence_on_disk(path) == cursor.position.sequence == len(received)


def test_the_cursor_moves_with_its_events(storage: Storage, path: Path) -> None:
    cursor = follow(storage)
    storage.apply(numbered(1, 2, 3), Position(3, 3000))
    assert select(path, CURSOR) == [(STREAM, "monday", 3)]
    assert cursor.position == Position(3, 3000)


@pytest.mark.parametrize("numbers", [[], [1, 2], [*POISON], [1, POISON[0]], [POISON[1], 4]])
def test_the_cursor_moves_past_rejected_and_skipped_messages(
    storage: Storage, path: Path, numbers: list[int]
) -> None:
    follow(storage)
    outcome = storage.apply(numbered(*numbers), Position(9, 9000))
    assert (outcome.settled, outcome.obstacle) == (len(numbers), None)
    assert sequence_on_disk(path) == 9


def test_events_whose_cursor_cannot_move_are_not_committed(
    backend: Backend, storage: Storage, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Position) -> None:
        raise OSError(28, "No space left on device")

    cursor, received = follow(storage), numbered(1, 2, 3)
    with monkeypatch.context() as broken:
        broken.setattr(cursor, "move", fail)
        outcome = storage.apply(received, Position(3, 3000))
    assert (outcome.settled, type(outcome.obstacle)) == (0, OSError)
    assert (backend.stored(path), sequence_on_disk(path)) == (([], []), 0)
    apply_all(storage, received)
    assert (backend.stored(path), sequence_on_disk(path)) == (expected(received), 3)


def test_a_cursor_is_kept_in_the_file_for_each_stream(backend: Backend, path: Path) -> None:
    for stream, sequence in (("ONE", 1), ("OTHER", 2), ("ONE", 3)):
        with backend.open(path) as storage:
            storage.follow(stream)
            assert storage.cursor is not None
            if sequence < 3:
                assert storage.cursor.position == BEGINNING
                storage.cursor.begin("monday")
            else:
                assert storage.cursor.created == "monday"
                assert storage.cursor.position == Position(1, 1000)
            storage.apply([], Position(sequence, sequence * 1000))
    assert select(path, CURSOR) == [("ONE", "monday", 3), ("OTHER", "monday", 2)]


def test_the_followed_stream_is_known_before_it_is_followed(backend: Backend, path: Path) -> None:
    with backend.open(path) as storage:
        assert storage.followed_stream == ""
        follow(storage)
        storage.apply([], Position(1, 1000))
    with backend.open(path) as storage:
        assert storage.followed_stream == STREAM


def test_events_from_elsewhere_are_noticed(backend: Backend, path: Path) -> None:
    with backend.open(path) as storage:
        storage.apply(numbered(1, 2, 4, 5))
        assert follow(storage).has_other_history
        storage.apply([], Position(1, 1000))
    with backend.open(path) as storage:
        assert not follow(storage).has_other_history


def test_a_damaged_file_is_fatal(backend: Backend, path: Path) -> None:
    with backend.open(path) as storage:
        storage.apply(numbered(1, 4))
    backend.damage(path)
    with (
        backend.open(path) as storage,
        pytest.raises(NotADatabase, match="the database is no longer usable: DatabaseError"),
    ):
        storage.apply(numbered(1, 4)).raise_if_fatal()


def test_a_query_is_answered_with_what_is_made_of_its_rows(storage: Storage) -> None:
    storage.apply(numbered(*[1] * 10))
    assert storage.answer(StatsRecentChatGet(limit=3), lambda rows: sum(1 for _ in rows)) == 3
    with pytest.raises(ZeroDivisionError):
        storage.answer(StatsRecentChatGet(limit=3), lambda rows: 1 / 0 if next(iter(rows)) else 1)
    assert storage.apply(numbered(1)).settled == 1, "what was not read to its end is closed"


def test_the_names_are_those_of_the_file(storage: Storage, path: Path) -> None:
    assert storage.file == storage.name == str(path)


@pytest.mark.parametrize(("given", "after"), [(None, 1234), (77, 77)])
def test_release_gives_everything_back(
    backend: Backend, path: Path, given: int | None, after: int
) -> None:
    with closing(backend.database(path)) as database:
        conn = database.conn
        conn.execute("PRAGMA busy_timeout = 1234")
        storage = adopt(database)
        assert connect.busy_timeout(conn) < 1234, "short, because the writer retries"
        storage.apply(numbered(1))
        storage.answer(StatsRecentChatGet(), list)
        storage.release(given)
        assert database.conn is conn
        assert connect.busy_timeout(conn) == after
        assert getattr(database, "clock", time.time) is time.time
        database.log_user_count(4, 4)
        assert backend.stored(path) == ([1], [4]), "its methods commit by themselves again"
    assert [*path.parent.iterdir()] == [path], "no other connection is open"


def test_one_object_does_not_serve_two_services(backend: Backend, path: Path) -> None:
    with closing(backend.database(path)) as database:
        storage = adopt(database)
        with pytest.raises(DatabaseInUse, match="another service of this process"):
            adopt(database)
        storage.release()
        adopt(database).release()
