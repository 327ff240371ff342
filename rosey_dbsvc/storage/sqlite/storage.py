"""Storage over our own BotDatabase."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, Final, TypeVar

from rosey_dbsvc.errors import DatabaseInUse
from rosey_dbsvc.operations.base import Event, Query
from rosey_dbsvc.storage.base import BaseStorage
from rosey_dbsvc.storage.batches import apply_in_halves
from rosey_dbsvc.storage.cursor import Position
from rosey_dbsvc.storage.protocol import Outcome, Received
from rosey_dbsvc.storage.sqlite import channel, chat, outbound, users
from rosey_dbsvc.storage.sqlite.base import Handlers
from rosey_dbsvc.storage.sqlite.bot_database import BotDatabase, Reader
from rosey_dbsvc.storage.sqlite.maintenance import Retention

T = TypeVar("T")

MAX_READERS: Final = 4  # queries that read at once, each on a connection of its own

HANDLERS: Final[Handlers] = users.HANDLERS | chat.HANDLERS | channel.HANDLERS | outbound.HANDLERS
BULK_HANDLERS: Final[Handlers] = chat.BULK_HANDLERS
"""For consecutive events of one type: functions of the database and a list of (time, event)."""


class SqliteStorage(BaseStorage):
    """Applies each batch as one transaction, and reads on connections of its own.

    Timestamps are the times at which the events were received.
    """

    commits_batches = True

    def __init__(self, database: BotDatabase) -> None:
        """Raise DatabaseInUse if another storage has this object."""
        if database.clock is not time.time:
            raise DatabaseInUse("another service of this process uses the database")
        super().__init__(database, database.conn)
        self.database = database
        self.readers = 0 if database.in_memory else MAX_READERS
        self._all_readers: list[Reader] = []
        self._idle: list[Reader] = []
        database.use_clock(self._clock)

    def apply(self, batch: Sequence[Received], position: Position | None = None) -> Outcome:
        """Apply events in order."""
        try:
            outcome = apply_in_halves(self._attempt, batch, position)
        finally:
            self._at = None
        outcome.raise_if_fatal()
        return outcome

    def _attempt(self, batch: Sequence[Received], position: Position | None) -> Exception | None:
        """Apply as one transaction; return the error if nothing was applied."""
        try:
            with self.database.atomic():
                for operation, events in groupby(batch, key=_operation):
                    if operation in BULK_HANDLERS:
                        pairs = [(each.at, each.event) for each in events]
                        BULK_HANDLERS[operation](self.database, pairs)
                    else:
                        for received in events:
                            self._at = received.at
                            HANDLERS[operation](self.database, received.event)
                self._move_cursor(position)
        except Exception as error:  # noqa: BLE001  a trigger in the file may raise anything
            return error
        self._set_position(position)
        return None

    def answer(self, query: Query, use: Callable[[Iterable[Any]], T]) -> T:
        """Return `use(rows)`. Raises sqlite3.Error, and whatever `use` raises."""
        with self._reader() as reader:
            rows = HANDLERS[type(query)](reader, query)
            try:
                return use(rows)
            finally:
                if isinstance(rows, Generator):
                    rows.close()

    @contextmanager
    def _reader(self) -> Iterator[BotDatabase | Reader]:
        if not self.readers:
            yield self.database
            return
        try:
            reader = self._idle.pop()
        except IndexError:  # checking before would be a race between threads
            reader = self._open_reader()
        try:
            yield reader
        finally:
            self._idle.append(reader)

    def _open_reader(self) -> Reader:
        reader = self.database.reader()
        self._all_readers.append(reader)
        return reader

    def retention(self, now: float) -> Retention:
        """Return the deletion of what is old at this time, in Unix seconds."""
        return self.database.retention(now)

    def release(self, busy_timeout: int | None = None) -> None:
        """Close the readers; restore the clock and the busy time-out, or set this one, in ms."""
        for reader in self._all_readers:
            reader.close()
        super().release(busy_timeout)
        self.database.use_clock(time.time)


def _operation(received: Received) -> type[Event]:
    return type(received.event)
