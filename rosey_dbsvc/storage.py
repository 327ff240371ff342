"""Anybody's BotDatabase, made to take batches of events and to answer queries."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final, NamedTuple

from rosey_dbsvc import faults
from rosey_dbsvc.contract import EVENTS, OPERATIONS, QUERIES, Event, Method, Operation, Query
from rosey_dbsvc.errors import NotADatabase, NotAdoptable
from rosey_dbsvc.grouping import Group, TornBatch

READERS: Final = 4
"""How many queries read at once, each on a connection of its own."""


class Received(NamedTuple):
    """An event as it came in: when, in Unix seconds, and the size of its payload in bytes."""

    event: Event
    at: float
    size: int


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


Calls = dict[type[Operation], Method]


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
        and hasattr(database, event.bulk)
        and _home(database, event.bulk) is _home(database, event.methods[0])
    }


def _home(database: object, name: str) -> object:
    # A class that has its own way with one event has to be asked for each of many.
    for each in (database, *type(database).__mro__):
        if name in getattr(each, "__dict__", {}):
            return each
    return None


def _operation(received: Received) -> type[Event]:
    return type(received.event)


def _do_nothing(**_: object) -> None:
    pass


class Storage:
    """A database as the service uses it: one batch at a time, from any thread.

    Beyond the methods of the operations, a database may have `conn`, a sqlite3.Connection (a batch
    is then one transaction), `use_clock` (it then takes the time an event was received for "now")
    and `reader` (queries then do not wait for the writer).
    """

    def __init__(self, database: object, calls: Calls) -> None:
        self.database = database
        self._calls = calls
        self._bulk = _bulk_calls(database)
        self._at: float | None = None
        self._group = Group.of(database)
        self.file = self._group.file if self._group else ""
        """Where batches are committed to, if it is known."""
        self._readers: list[Any] = []
        self._idle: list[Calls] = []
        self.reads_apart = self._add_reader()
        if hasattr(database, "use_clock"):
            database.use_clock(self._clock)

    @property
    def name(self) -> str:
        """What to call the database in the log."""
        return self.file or type(self.database).__name__

    @property
    def commits_batches(self) -> bool:
        """Whether a batch is one transaction."""
        return self._group is not None

    def _clock(self) -> float:
        return time.time() if self._at is None else self._at

    # Events

    def apply(self, batch: Sequence[Received]) -> Outcome:
        """Apply the events in order; what is settled is committed, or rejected for good.

        Raises NotADatabase if the file is beyond help.
        """
        try:
            if self._group is None:
                outcome = self._apply_singly(batch)
            else:
                outcome = self._apply_grouped(self._group, batch)
        finally:
            self._at = None
        if outcome.obstacle is not None and faults.is_fatal(outcome.obstacle):
            what = faults.describe(outcome.obstacle)
            raise NotADatabase(f"the database cannot be used any more: {what}")
        return outcome

    def _apply_grouped(self, group: Group, batch: Sequence[Received]) -> Outcome:
        try:
            with group.batch():
                for operation, run in groupby(batch, key=_operation):
                    self._apply_run(operation, list(run))
            return Outcome(settled=len(batch))
        except TornBatch:
            pass
        except Exception as error:  # noqa: BLE001  a database may raise anything
            if not faults.is_of_the_event(error):
                return Outcome(obstacle=error)
        return self._apply_apart(group, batch)

    def _apply_apart(self, group: Group, batch: Sequence[Received]) -> Outcome:
        """Find the events that are at fault, and commit the others."""
        outcome = Outcome(settled=len(batch))
        try:
            with group.batch():
                for received in batch:
                    self._apply_or_reject(received, outcome, group.event())
        except Exception as error:  # noqa: BLE001
            return Outcome(obstacle=error)
        return outcome

    def _apply_singly(self, batch: Sequence[Received]) -> Outcome:
        """Apply events that each commit by themselves."""
        outcome = Outcome()
        for received in batch:
            try:
                self._apply_or_reject(received, outcome, nullcontext())
            except Exception as error:  # noqa: BLE001
                outcome.obstacle = error
                break
            outcome.settled += 1
        return outcome

    def _apply_or_reject(
        self, received: Received, outcome: Outcome, scope: AbstractContextManager[None]
    ) -> None:
        try:
            with scope:
                self._apply(received)
        except Exception as error:
            if not faults.is_of_the_event(error):
                raise
            outcome.rejections.append(Rejection(received.event, error))

    def _apply_run(self, operation: type[Event], run: Sequence[Received]) -> None:
        """Apply successive events of one kind, in one call if the database has a method for it."""
        if operation in self._bulk:
            events = [(received.at, received.event) for received in run]
            operation.apply_many(self._bulk[operation], events)
        else:
            for received in run:
                self._apply(received)

    def _apply(self, received: Received) -> None:
        self._at = received.at
        received.event.apply(self._calls[type(received.event)])

    # Queries

    def answer(self, query: Query) -> Any:  # noqa: ANN401
        """Return the rows that the query asks for. Raises whatever the database raises."""
        with self._reading() as calls:
            return query.answer(calls[type(query)])

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
        make = getattr(self.database, "reader", None)
        if make is None or (reader := make()) is None:
            return False
        self._readers.append(reader)
        self._idle.append(_calls(reader, QUERIES))
        return True

    def release(self, busy_timeout: int | None = None) -> None:
        """Give the database back as it was, but for how long it waits for locks, in ms."""
        for reader in self._readers:
            reader.close()
        if self._group is not None:
            self._group.release(self.database, busy_timeout)
        if hasattr(self.database, "use_clock"):
            self.database.use_clock(time.time)
