"""Adopted databases whose methods roll back, or end transactions by themselves."""

import errno
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest
from storage.backends import apply_all, batch, joined
from support.databases import OldBotDatabase, select

from rosey_dbsvc import adopt
from rosey_dbsvc.operations.users import UserJoined, UserLeft
from rosey_dbsvc.storage.base import MAX_SINGLE
from rosey_dbsvc.storage.cursor import Position
from rosey_dbsvc.storage.protocol import Received, Storage

WARNING: Final = "ends transactions by itself: from now on each event is applied by itself"


@contextmanager
def adopted(database: OldBotDatabase) -> Iterator[Storage]:
    with closing(database):
        storage = adopt(database)
        yield storage
        storage.release()


def logged(path: Path) -> list[str]:
    """Return what another program sees: all that is committed."""
    return [what for (what,) in select(path, "SELECT what FROM log ORDER BY id")]


def first_times(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


# Methods that roll back


class RollingBack(OldBotDatabase):
    """Rolls back by itself on one name, and hides the error."""

    def user_joined(self, username: str) -> None:
        try:
            with self.conn:
                self.conn.execute("INSERT INTO log (what) VALUES (?)", (username,))
                if username == "poison":
                    raise KeyError(username)
        except KeyError:
            self.conn.rollback()


@pytest.mark.parametrize("place", range(4))
def test_a_method_that_rolls_back_undoes_only_its_own_event(path: Path, place: int) -> None:
    names = ["alice", "bob", "carol"]
    with adopted(RollingBack(str(path))) as storage:
        outcome = storage.apply(joined(*names[:place], "poison", *names[place:]))
        assert (outcome.settled, outcome.rejections, outcome.obstacle) == (4, [], None)
        assert storage.commits_batches
    assert logged(path) == names


def test_a_method_that_rolls_back_between_batches_is_not_in_their_way(path: Path) -> None:
    database = RollingBack(str(path))
    with adopted(database) as storage:
        database.user_joined("poison")
        database.user_joined("alice")
        storage.apply(joined("bob"))
    assert logged(path) == ["alice", "bob"]


# Methods that end transactions by themselves


class OwnWay(OldBotDatabase):
    """Ends transactions in one of several ways. The poison fails after it has written."""

    def __init__(self, path: str, way: str) -> None:
        super().__init__(path)
        self._alias = self.conn
        self._end = WAYS[way]
        self._begins = way == "begins"

    def user_joined(self, username: str) -> None:
        if self._begins:
            self.conn.execute("BEGIN IMMEDIATE")
        self.conn.execute("INSERT INTO log (what) VALUES (?)", (username,))
        if username == "poison":
            self.conn.rollback()
            raise KeyError(username)
        self._end(self)


def _write_after_script(database: OwnWay) -> None:
    database.conn.executescript("SELECT 1")
    database.conn.execute("UPDATE log SET what = what")


WAYS: Final[dict[str, Callable[[OwnWay], object]]] = {
    "begins": lambda database: database.conn.commit(),
    "commits by an alias": lambda database: database._alias.commit(),
    "executes a script": lambda database: database.conn.executescript("SELECT 1"),
    "executes COMMIT": lambda database: database.conn.execute("COMMIT"),
    "writes after a script": _write_after_script,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", [0, 1, 3, 5])
def test_every_event_is_there_in_order_and_later_batches_are_there_once(
    path: Path, way: str, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    names = list("abcde")
    names.insert(place, "poison")
    with adopted(OwnWay(str(path), way)) as storage:
        outcome = storage.apply(joined(*names))
        assert (outcome.settled, outcome.obstacle) == (6, None)
        assert [each.event for each in outcome.rejections] == [UserJoined(username="poison")]
        assert first_times(logged(path)) == list("abcde")
        assert not storage.commits_batches
        assert [f"{path} {WARNING}, at least once"] == caplog.messages
        before = logged(path)
        for name in "fgh":
            assert storage.apply(joined(name)).settled == 1
        assert logged(path) == [*before, *"fgh"]
        assert len(caplog.messages) == 1, "logged once"


def test_a_batch_of_any_length_is_there_in_order(path: Path) -> None:
    names = [str(number) for number in range(2 * MAX_SINGLE + 10)]
    with adopted(OwnWay(str(path), "executes COMMIT")) as storage:
        assert storage.apply(received := joined(*names)).settled == MAX_SINGLE
        assert apply_all(storage, received[MAX_SINGLE:]) == []
    assert first_times(logged(path)) == names


class Undoing(OldBotDatabase):
    """Executes ROLLBACK, which another connection would not even see."""

    def user_left(self, username: str) -> None:
        self.conn.execute("ROLLBACK")
        if username == "with an error":
            raise KeyError(username)


@pytest.mark.parametrize("first", [0, 3])
def test_a_method_that_executes_rollback_costs_its_own_event_alone(path: Path, first: int) -> None:
    received = [*joined("a", "b"), *batch(UserLeft(username="with an error")), *joined("c")]
    received = [*received, *batch(UserLeft(username="without")), *joined("d")][first:]
    with adopted(Undoing(str(path))) as storage:
        outcome = storage.apply(received)
        assert (outcome.settled, outcome.obstacle) == (len(received), None)
    names = [each.event.username for each in received if isinstance(each.event, UserJoined)]
    assert first_times(logged(path)) == [f"joined {name}" for name in names]


def test_a_method_that_begins_is_no_poison_beside_poison(path: Path) -> None:
    class Beginning(OldBotDatabase):
        def user_joined(self, username: str) -> None:
            super().user_joined(username)
            if username == "poison":
                raise KeyError(username)

        def user_left(self, username: str) -> None:
            self.conn.execute("BEGIN IMMEDIATE")
            self._log("left", username)

    received = [*joined("a", "poison"), *batch(UserLeft(username="a")), *joined("b")]
    with adopted(Beginning(str(path))) as storage:
        outcome = storage.apply(received)
        assert [each.event for each in outcome.rejections] == [UserJoined(username="poison")]
    assert first_times(logged(path)) == ["joined a", "joined poison", "left a", "joined b"]


def test_a_method_that_fails_after_its_own_commit_is_rejected(path: Path) -> None:
    class Failing(OldBotDatabase):
        def user_joined(self, username: str) -> None:
            self.conn.execute("INSERT INTO log (what) VALUES (?)", (username,))
            self.conn.execute("COMMIT")
            if username == "poison":
                raise KeyError(username)

    with adopted(Failing(str(path))) as storage:
        outcome = storage.apply(joined("a", "b", "poison", "c"))
        assert (outcome.settled, len(outcome.rejections), outcome.obstacle) == (4, 1, None)
    assert first_times(logged(path)) == ["a", "b", "poison", "c"]


def test_of_a_rejected_event_nothing_is_left(path: Path) -> None:
    class Half(OldBotDatabase):
        def user_joined(self, username: str) -> None:
            self.conn.execute("INSERT INTO log (what) VALUES ('half')")
            if username == "poison":
                raise KeyError(username)
            self.conn.execute("COMMIT")

    with adopted(Half(str(path))) as storage:
        storage.apply(joined("a"))
        before = logged(path)
        assert len(storage.apply(joined("poison", "b")).rejections) == 1
    assert logged(path) == [*before, "half"]


def test_an_event_whose_method_leaves_its_transaction_open_is_on_disk(path: Path) -> None:
    class Open(OldBotDatabase):
        def user_joined(self, username: str) -> None:
            self.conn.execute("INSERT INTO log (what) VALUES (?)", (username,))

        def user_left(self, username: str) -> None:
            self.conn.execute("INSERT INTO log (what) VALUES (?)", (username,))
            self.conn.execute("COMMIT")

    with adopted(Open(str(path))) as storage:
        storage.apply(batch(UserLeft(username="a")))
        before = logged(path)
        assert storage.apply(joined("b")).settled == 1
        assert logged(path) == [*before, "b"]


# Their cursor


CURSOR: Final = "SELECT sequence FROM rosey_dbsvc_cursor"


def positioned(first: int, last: int) -> list[Received]:
    return [
        Received(UserJoined(username=str(number)), 0.0, 10, Position(number, number * 1000))
        for number in range(first, last + 1)
    ]


def test_the_cursor_moves_after_the_events(path: Path) -> None:
    with adopted(OwnWay(str(path), "executes COMMIT")) as storage:
        storage.follow("ROSEY_DB")
        assert storage.apply(positioned(1, 3), Position(4, 4000)).settled == 3
        assert select(path, CURSOR) == [(4,)]
        assert storage.apply(positioned(5, 6), Position(6, 6000)).settled == 2
        assert storage.apply([], Position(8, 8000)).obstacle is None
    assert select(path, CURSOR) == [(8,)]
    assert first_times(logged(path)) == ["1", "2", "3", "5", "6"]


def test_the_cursor_moves_to_the_last_event_that_is_settled(path: Path) -> None:
    class Full(OldBotDatabase):
        def user_joined(self, username: str) -> None:
            if username == "3":
                raise OSError(errno.ENOSPC, "No space left on device")
            self.conn.execute("INSERT INTO log (what) VALUES (?)", (username,))
            self.conn.execute("COMMIT")

    with adopted(Full(str(path))) as storage:
        storage.follow("ROSEY_DB")
        outcome = storage.apply(positioned(1, 5), Position(5, 5000))
        assert (outcome.settled, outcome.rejections) == (2, [])
        assert isinstance(outcome.obstacle, OSError)
        assert select(path, CURSOR) == [(2,)]
        outcome = storage.apply(positioned(3, 5), Position(5, 5000))
        assert (outcome.settled, type(outcome.obstacle)) == (0, OSError)
        assert select(path, CURSOR) == [(2,)]


def test_an_event_is_not_repeated_because_the_cursor_cannot_move(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with adopted(OwnWay(str(path), "executes COMMIT")) as storage:
        storage.follow("ROSEY_DB")
        storage.apply(positioned(1, 1), Position(1, 1000))
        before = logged(path)
        with monkeypatch.context() as broken:
            broken.setattr("rosey_dbsvc.storage.cursor.WRITE", "INSERT INTO missing VALUES (?)")
            outcome = storage.apply(positioned(2, 2), Position(2, 2000))
        assert outcome.settled == 1
        assert "missing" in str(outcome.obstacle)
        assert storage.apply([], Position(2, 2000)).obstacle is None
        assert select(path, CURSOR) == [(2,)]
    assert logged(path) == [*before, "2"]
