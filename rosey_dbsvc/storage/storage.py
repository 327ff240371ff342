"""Anybody's BotDatabase, made to take batches of events and to answer queries."""

import logging
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final, NamedTuple, TypeVar

from msgspec import Struct

from rosey_dbsvc.errors import NotADatabase, NotAdoptable
from rosey_dbsvc.operations.base import EVENTS, OPERATIONS, QUERIES, Event, Method, Operation, Query
from rosey_dbsvc.storage import sqlite_errors as faults
from rosey_dbsvc.storage.cursor import Cursor, FileCursor, Position, TableCursor, stream_of
from rosey_dbsvc.storage.deferred_commits import Group, OwnTransactions, RolledBack, TornBatch
from rosey_dbsvc.storage.sqlite import BotDatabase
from rosey_dbsvc.storage.sqlite.retention import Retention

logger = logging.getLogger(__name__)

T = TypeVar("T")

SINGLY: Final = 100
"""How many events that are a transaction each are applied at a time."""
READERS: Final = 4
"""How many queries read at once, each on a connection of its own."""


class Received(Struct, frozen=True, gc=False):
    """An event as it came in: when, in Unix seconds, and the size of its payload in bytes."""

    event: Event
    at: float
    size: int
    position: Position | None = None
    """Where it is in the stream, if it comes from one."""


class Rejection(NamedTuple):
    """An event that the database did not take, and why."""

    event: Event
    reason: Exception


@dataclass(slots=True)
class Outcome:
    """What became of a batch: how many events are settled, and what held up those after them."""

    settled: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    obstacle: Exception | None = None
    noted: bool = False
    """Whether the cursor was moved in the transaction of the events."""

    def reject(self, event: Event, reason: Exception) -> None:
        """Settle the next event as one that the database does not take."""
        self.rejections.append(Rejection(event, reason))
        self.settled += 1


Calls = dict[type[Operation], Method]
Way = Callable[[Group, Sequence[Received], Outcome], None]


def adopt(database: object) -> "Storage":
    """Return a storage over any object with the methods of a BotDatabase, under either name.

    Raises NotAdoptable if one is missing, or if its connection keeps to the thread it was made in.
    """
    return Storage(database, _calls(database, OPERATIONS))


def _calls(database: object, operations: Sequence[type[Operation]]) -> Calls:
    found = {operation: _method(database, operation) for operation in operations}
    return {operation: operation.bind(method) for operation, method in found.items()}


def _method(database: object, operation: type[Operation]) -> Method:
    for name in operation.methods:
        if callable(method := getattr(database, name, None)):
            return method  # type: ignore[no-any-return]
    if operation.optional:
        return _do_nothing
    raise NotAdoptable(
        f"{type(database).__name__} cannot serve the operation {operation.name}: "
        f"it has no method {' or '.join(operation.methods)}"
    )


def _bulk_calls(database: object) -> dict[type[Event], Method]:
    return {
        event: getattr(database, event.bulk)
        for event in EVENTS
        if event.bulk
        and isinstance(database, BotDatabase)
        and _home(database, event.bulk) is _home(database, event.methods[0])
    }


def _home(database: object, name: str) -> object:
    # A class that has its own way with one event has to be asked for each of many.
    for each in (database, *type(database).__mro__):
        if name in getattr(each, "__dict__", {}):
            return each
    return None


def _is_the_same(reader: object, database: object, query: type[Query]) -> bool:
    # A class that has its own way with a query has to be asked itself.
    name = query.methods[0]
    return getattr(type(reader), name) is getattr(type(database), name) and name not in vars(
        database
    )


def _operation(received: Received) -> type[Event]:
    return type(received.event)


def _do_nothing(**_: object) -> None:
    pass


class Storage:
    """A database as the service uses it: one batch at a time, from any thread.

    A database that has `conn`, a sqlite3.Connection, takes a batch in one transaction. A
    BotDatabase of this package besides takes the time that an event was received for "now", and is
    read on connections of its own, so that a query does not wait for the writer.
    """

    def __init__(self, database: object, calls: Calls) -> None:
        self.database = database
        self._calls = calls
        self._bulk = _bulk_calls(database)
        self._at: float | None = None
        self._group = Group.of(database)
        self._groups = True
        self.file = self._group.file if self._group else ""
        """Where batches are committed to, if it is known."""
        self.cursor: Cursor | None = None
        """How far in a stream the database has come, once `follow` was called."""
        self._readers: list[Any] = []
        self._idle: list[Calls] = []
        self.reads_apart = self._add_reader()
        if isinstance(database, BotDatabase):
            database.use_clock(self._clock)

    @property
    def name(self) -> str:
        """What to call the database in the log."""
        return self.file or type(self.database).__name__

    @property
    def commits_batches(self) -> bool:
        """Whether a batch is one transaction."""
        return self._group is not None and self._groups

    def follow(self, stream: str, cursor_file: str) -> None:
        """Keep a cursor in this stream: in the database, or in the file if that cannot be.

        Raises NotAdoptable if there is no file to keep it in, CannotOpen or sqlite3.Error.
        """
        if self._group is not None:
            self.cursor = TableCursor(self._group.conn, stream)
        elif cursor_file:
            self.cursor = FileCursor(cursor_file, stream)
        else:
            raise NotAdoptable(
                f"{type(self.database).__name__} has no SQLite connection in `conn` that could "
                "keep the cursor in the stream: name a file for it, Durable(cursor_file=...)"
            )

    @property
    def followed(self) -> str:
        """The stream that the database has a cursor in, empty if none."""
        return stream_of(self._group.conn) if self._group is not None else ""

    def _clock(self) -> float:
        return time.time() if self._at is None else self._at

    # Events

    def apply(self, batch: Sequence[Received], position: Position | None = None) -> Outcome:
        """Apply the events in order; what is settled is committed, or rejected for good.

        With the last of them the cursor moves to the position. Raises NotADatabase if the file is
        beyond help.
        """
        try:
            if self._group is None or not self._groups:
                outcome = self._apply_singly(batch, Outcome())
            else:
                outcome = self._apply_grouped(self._group, batch, position)
        finally:
            self._at = None
        if not outcome.noted:
            self._note_apart(batch, position, outcome)
        if outcome.obstacle is not None and faults.is_fatal(outcome.obstacle):
            what = faults.describe(outcome.obstacle)
            raise NotADatabase(f"the database cannot be used any more: {what}")
        return outcome

    def _apply_grouped(
        self, group: Group, batch: Sequence[Received], position: Position | None
    ) -> Outcome:
        """Make one transaction of the batch; if that fails, find the events that are at fault."""
        for apply in (self._apply_together, self._apply_apart):
            outcome = self._attempt(group, batch, apply, position)
            if outcome is not None:
                return outcome
        return self._apply_ungrouped(batch, Outcome())  # none is at fault, but together they are

    def _attempt(
        self, group: Group, batch: Sequence[Received], apply: Way, position: Position | None
    ) -> Outcome | None:
        """Return the outcome, or None if an event is at fault, and nothing applied."""
        outcome = Outcome()
        try:
            with group.batch():
                apply(group, batch, outcome)
                self._note(position)
            outcome.noted = True
        except OwnTransactions:
            return self._apply_ungrouped(batch, outcome)
        except TornBatch:
            return None
        except Exception as error:  # noqa: BLE001  a database may raise anything
            return self._judge(group, batch, outcome, error)
        return outcome

    def _note(self, position: Position | None) -> None:
        if self.cursor is not None and position is not None:
            self.cursor.move(position)

    def _note_apart(
        self, batch: Sequence[Received], position: Position | None, outcome: Outcome
    ) -> None:
        """Move the cursor past events that are committed already."""
        if outcome.settled < len(batch):
            position = batch[outcome.settled - 1].position if outcome.settled else None
        try:
            self._note(position)
            if self._group is not None and self.cursor is not None:
                self._group.conn.commit()
        except (OSError, sqlite3.Error) as error:
            outcome.obstacle = outcome.obstacle or error

    def _judge(
        self, group: Group, batch: Sequence[Received], outcome: Outcome, error: Exception
    ) -> Outcome | None:
        if isinstance(error, RolledBack) or faults.begins_transactions(error):
            return self._apply_ungrouped(batch, Outcome())
        if not faults.is_of_the_event(error):
            return Outcome(obstacle=error)
        if group.ended:
            outcome.reject(batch[outcome.settled].event, error)
            return self._apply_ungrouped(batch, outcome)
        return None

    def _apply_together(self, group: Group, batch: Sequence[Received], outcome: Outcome) -> None:
        for operation, run in groupby(batch, key=_operation):
            events = list(run)
            if operation in self._bulk:
                operation.apply_many(self._bulk[operation], [(r.at, r.event) for r in events])
                outcome.settled += len(events)
                group.check()
            else:
                for received in events:
                    self._apply(received)
                    outcome.settled += 1
                    group.check()

    def _apply_apart(self, group: Group, batch: Sequence[Received], outcome: Outcome) -> None:
        for received in batch:
            self._apply_or_reject(received, outcome, group.event())

    def _apply_ungrouped(self, batch: Sequence[Received], outcome: Outcome) -> Outcome:
        """Go on with a database whose methods turn out to begin and end transactions themselves."""
        logger.warning("%s has transactions of its own: each event is one", self.name)
        if self.cursor is not None:
            logger.warning("after a crash, the last events may be applied twice")
        self._groups = False
        return self._apply_singly(batch, outcome)

    def _apply_singly(self, batch: Sequence[Received], outcome: Outcome) -> Outcome:
        """Apply events that each commit by themselves: some, as a stop may not wait for all."""
        for received in batch[outcome.settled : outcome.settled + SINGLY]:
            try:
                self._apply_or_reject(received, outcome, self._undone())
            except Exception as error:  # noqa: BLE001
                outcome.obstacle = error
                break
        return outcome

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """Leave nothing of an event that fails, for the next one to commit."""
        try:
            yield
        except Exception:
            if self._group is not None:
                self._group.rollback()
            raise

    def _apply_or_reject(
        self, received: Received, outcome: Outcome, scope: AbstractContextManager[None]
    ) -> None:
        try:
            with scope:
                self._apply(received)
            outcome.settled += 1
        except OwnTransactions as ended:
            if isinstance(ended.__cause__, Exception):
                outcome.reject(received.event, ended.__cause__)
            else:
                outcome.settled += 1
            raise
        except RolledBack:
            raise
        except Exception as error:
            if not faults.is_of_the_event(error) or (
                self._groups and faults.begins_transactions(error)
            ):
                raise
            outcome.reject(received.event, error)

    def _apply(self, received: Received) -> None:
        self._at = received.at
        received.event.apply(self._calls[type(received.event)])

    def retention(self, now: float) -> Retention | None:
        """Return what deletes what is old at this time; None for a database of somebody else's."""
        database = self.database
        return database.retention(now) if isinstance(database, BotDatabase) else None

    # Queries

    def answer(self, query: Query, use: Callable[[Iterable[Any]], T]) -> T:
        """Return what comes of using the rows that the query asks for.

        They may be read while they are used, and no further. Raises whatever the database raises.
        """
        with self._reading() as calls:
            rows = query.answer(calls[type(query)])
            try:
                return use(rows)
            finally:
                if isinstance(rows, Generator):
                    rows.close()

    @contextmanager
    def _reading(self) -> Iterator[Calls]:
        if not self.reads_apart:
            yield self._calls
            return
        if not self._idle:
            self._add_reader()
        calls = self._idle.pop()
        try:
            yield calls
        finally:
            self._idle.append(calls)

    def _add_reader(self) -> bool:
        reader = self.database.reader() if isinstance(self.database, BotDatabase) else None
        if reader is None:
            return False
        self._readers.append(reader)
        self._idle.append({each: each.bind(getattr(reader, each.lazy)) for each in QUERIES})
        return all(_is_the_same(reader, self.database, each) for each in QUERIES)

    def release(self, busy_timeout: int | None = None) -> None:
        """Give the database back as it was, but for how long it waits for locks, in ms."""
        for reader in self._readers:
            reader.close()
        if self._group is not None:
            self._group.release(self.database, busy_timeout)
        if isinstance(self.database, BotDatabase):
            self.database.use_clock(time.time)
