"""Back ends of the conformance suite. A new one is a class here, and an entry in BACKENDS."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

from support.databases import OldBotDatabase, select

from rosey_dbsvc import BotDatabase, adopt
from rosey_dbsvc.operations.base import Event
from rosey_dbsvc.operations.channel import StatsUserCount
from rosey_dbsvc.operations.chat import MessageLog
from rosey_dbsvc.operations.users import UserJoined
from rosey_dbsvc.storage.cursor import Position
from rosey_dbsvc.storage.protocol import Received, Storage

POISON: Final = (666, 669)
"""Every back end refuses events with these numbers, a message and a count."""


def batch(*events: Event, at: float = 1000.0) -> list[Received]:
    return [Received(event, at, 10) for event in events]


def joined(*names: str) -> list[Received]:
    return batch(*(UserJoined(username=name) for name in names))


def numbered(*numbers: int, padding: int = 0) -> list[Received]:
    """Return events at positions 1, 2, … of a stream: runs of messages and counts in turn."""
    return [
        Received(_event(number, padding), 1000.0, 10, Position(index, index * 1000))
        for index, number in enumerate(numbers, 1)
    ]


def _event(number: int, padding: int) -> Event:
    if number % 6 < 3:
        return MessageLog(username="alice", message=f"{number} {'x' * padding}")
    return StatsUserCount(chat_count=number)


def number_of(event: Event) -> int:
    if isinstance(event, StatsUserCount):
        return event.chat_count
    assert isinstance(event, MessageLog)
    return int(event.message.split()[0])


def apply_all(storage: Storage, received: list[Received]) -> list[Event]:
    """Apply as the service does, with retries; return the events that were rejected."""
    rejected = []
    while received:
        outcome = storage.apply(received, received[-1].position)
        rejected += [each.event for each in outcome.rejections]
        assert outcome.settled or outcome.obstacle is None, outcome.obstacle
        received = received[outcome.settled :]
    return rejected


class Backend:
    """Our own database. Other back ends override what differs."""

    name: ClassVar[str] = "sqlite"
    tables: ClassVar[tuple[str, str]] = ("recent_chat", "user_count_history")
    messages: ClassVar[str] = "SELECT CAST(message AS INTEGER) FROM recent_chat ORDER BY id"
    counts: ClassVar[str] = "SELECT chat_users FROM user_count_history ORDER BY id"

    def database(self, path: Path) -> Any:
        database = BotDatabase(path)
        _add_triggers(database.conn)
        return database

    @contextmanager
    def open(self, path: Path) -> Iterator[Storage]:
        with closing(self.database(path)) as database:
            storage = adopt(database)
            yield storage
            storage.release()

    def stored(self, path: Path) -> tuple[list[int], list[int]]:
        """Return the numbers of the messages and of the counts in the file, in order."""
        return _column(path, self.messages), _column(path, self.counts)

    def conn(self, storage: Storage) -> sqlite3.Connection:
        conn: sqlite3.Connection = storage.database.conn  # type: ignore[attr-defined]
        return getattr(conn, "conn", conn)

    def damage(self, path: Path) -> None:
        """Overwrite the first page of the tables."""
        ((size,),) = select(path, "PRAGMA page_size")
        roots = "SELECT rootpage FROM sqlite_master WHERE name IN (?, ?)"
        with path.open("r+b") as file:
            for page in _column(path, roots, *self.tables):
                file.seek((page - 1) * size)
                file.write(b"x" * size)

    @contextmanager
    def full_disk(self, storage: Storage, free_pages: int = 0) -> Iterator[None]:
        """Leave the file no more than this number of pages to grow."""
        conn = self.conn(storage)
        (pages,) = conn.execute("PRAGMA page_count").fetchone()
        conn.execute(f"PRAGMA max_page_count = {pages + free_pages}")
        yield
        conn.execute("PRAGMA max_page_count = 1000000")


def _add_triggers(conn: sqlite3.Connection) -> None:
    for table, value in (
        ("recent_chat", "CAST(new.message AS INTEGER)"),
        ("user_count_history", "new.chat_users"),
    ):
        conn.execute(
            f"CREATE TRIGGER IF NOT EXISTS poison_{table} AFTER INSERT ON {table}"
            f" WHEN {value} IN {POISON} BEGIN SELECT raise(ABORT, 'poison'); END"
        )


def _column(path: Path, sql: str, *values: str) -> list[int]:
    return [number for (number,) in select(path, sql, *values)]


class Poisoned(OldBotDatabase):
    """Fails on poison, after it has written and committed."""

    def _log(self, *what: object) -> None:
        super()._log(*what)
        if {str(number) for number in POISON} & set(" ".join(map(str, what)).split()):
            raise KeyError(POISON)


class AdoptedOld(Backend):
    """A third-party database with a commit in every method."""

    name = "adopted"
    tables = ("log", "log")
    messages = "SELECT CAST(substr(what, 12) AS INTEGER) FROM log WHERE what LIKE 'said%'"
    counts = "SELECT CAST(substr(what, 7) AS INTEGER) FROM log WHERE what LIKE 'count%'"

    def database(self, path: Path) -> Any:
        return Poisoned(str(path))


class OwnBotDatabase(BotDatabase):
    """A subclass, whose methods may be its own, so they are called."""


class AdoptedSubclass(Backend):
    """A subclass of our own database."""

    name = "subclass"

    def database(self, path: Path) -> Any:
        database = OwnBotDatabase(path)
        _add_triggers(database.conn)
        return database


BACKENDS: Final = (Backend(), AdoptedOld(), AdoptedSubclass())
