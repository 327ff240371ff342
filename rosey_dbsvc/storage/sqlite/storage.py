"""Storage over our own BotDatabase."""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import groupby
from typing import Any, Final, TypeVar

from rosey_dbsvc.errors import DatabaseInUse
from rosey_dbsvc.operations.base import Event, Query
from rosey_dbsvc.storage.base import BaseStorage, use_and_close
from rosey_dbsvc.storage.protocol import Outcome, Received
from rosey_dbsvc.storage.sqlite import channel, chat, outbound, users
from rosey_dbsvc.storage.sqlite.base import Handlers
from rosey_dbsvc.storage.sqlite.bot_database import BotDatabase, Reader
from rosey_dbsvc.storage.sqlite.retention import Retention

T = TypeVar("T")

MAX_READERS: Final = 4  # queries that read at once, each on a connection of its own

HANDLERS: Final[Handlers] = users.HANDLERS | chat.HANDLERS | channel.HANDLERS | outbound.HANDLERS
BULK_HANDLERS: Final[Handlers] = chat.BULK_HANDLERS
"""For consecutive events of one type: functions of the database and a list of (time, event)."""


class SqliteStorage(BaseStorage):
    """Applies each batch as one transaction, and reads on connections of its own.

    Timestamps are the times at which the events were received.
    """

    def __init__(self, database: BotDatabase) -> None:
        """Raise DatabaseInUse if another storage has this object."""
        if database.in_use:
            raise DatabaseInUse("another service of this process uses the database")
        super().__init__(database, database.conn)
        database.in_use = True
        self.database = database
        self.readers = 0 if database.in_memory else MAX_READERS
        self._all_readers: list[Reader] = []
        self._idle: list[Reader] = []
        database.use_clock(self._clock)

    def _transaction(self) -> AbstractContextManager[None]:
        return self.database.atomic()

    _single_transaction = _transaction

    def _savepoint(self) -> AbstractContextManager[None]:
        return self.database.savepoint()

    def _call(self, received: Received) -> None:
        self._at = received.at
        HANDLERS[type(received.event)](self.database, received.event)

    def _apply_together(self, batch: Sequence[Received], outcome: Outcome) -> None:
        for operation, events in groupby(batch, key=_operation):
            if operation in BULK_HANDLERS:
                pairs = [(each.at, each.event) for each in events]
                BULK_HANDLERS[operation](self.database, pairs)
            else:
                for received in events:
                    self._call(received)
        outcome.settled = len(batch)

    def answer(self, query: Query, use: Callable[[Iterable[Any]], T]) -> T:
        """Return `use(rows)`. Raises sqlite3.Error, and whatever `use` raises."""
        handler = HANDLERS[type(query)]
        with self._reader() as reader:
            try:
                return use_and_close(handler(reader, query), use)
            except sqlite3.OperationalError as error:
                if "UTF-8" not in str(error):
                    raise
                reader.conn.text_factory = _decode  # another program has written such text
                return use_and_close(handler(reader, query), use)

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
        self.database.in_use = False
        self.database.use_clock(time.time)
        super().release(busy_timeout)


def _decode(data: bytes) -> str:
    """Decode text, with replacement characters for what is not UTF-8."""
    return data.decode(errors="replace")


def _operation(received: Received) -> type[Event]:
    return type(received.event)
