"""Storage over any object with the methods of a BotDatabase."""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from rosey_dbsvc._text import Logger
from rosey_dbsvc.errors import DatabaseInUse, NotAdoptable, NotSupported
from rosey_dbsvc.operations.base import Operation, Query
from rosey_dbsvc.storage import sqlite_errors
from rosey_dbsvc.storage.adopted_methods import Call, calls
from rosey_dbsvc.storage.base import BaseStorage, EndsTransactions, use_and_close
from rosey_dbsvc.storage.cursor import Position
from rosey_dbsvc.storage.deferred_commits import DeferredCommits
from rosey_dbsvc.storage.protocol import Outcome, Received, Retention
from rosey_dbsvc.storage.sqlite import BotDatabase

logger = Logger(__name__)

T = TypeVar("T")


class AdoptedStorage(BaseStorage):
    """Anybody's BotDatabase, unmodified.

    If it has a sqlite3.Connection in `conn`, a batch is one transaction. If its methods end
    transactions by themselves, each event is applied by itself from then on, at least once. If it
    has a method `use_clock`, that gets a function with the time of each event.
    """

    readers = 0
    single_cursor = False  # a method commits by itself: a retry of the cursor must not repeat it

    def __init__(self, database: object) -> None:
        """Raise NotAdoptable for a missing method or a connection bound to its thread."""
        self.database = database
        self._calls = calls(database)
        conn = _connection(database)
        super().__init__(database, conn)
        self._proxy = _replace(database, conn) if conn else None
        self.commits_batches = self._proxy is not None
        self._use_clock(self._clock)

    def _use_clock(self, clock: Callable[[], float]) -> None:
        if callable(use_clock := getattr(self.database, "use_clock", None)):
            use_clock(clock)

    def _apply_grouped(
        self, batch: Sequence[Received], position: Position | None
    ) -> Outcome | None:
        """Apply as one transaction. Stop that for good if the database makes it impossible."""
        try:
            return super()._apply_grouped(batch, position)
        except EndsTransactions:
            logger.warning(
                "%(database)s ends transactions by itself: from now on each event is applied by "
                "itself, at least once",
                database=self.name,
            )
            self.commits_batches = False
            return None

    def _transaction(self) -> AbstractContextManager[None]:
        assert self._proxy is not None  # noqa: S101  or batches are not committed
        return self._proxy.batch()

    def _savepoint(self) -> AbstractContextManager[None]:
        assert self._proxy is not None  # noqa: S101
        return self._proxy.savepoint()

    @contextmanager
    def _single_transaction(self) -> Iterator[None]:
        try:
            yield
            if self._conn is not None:
                self._conn.commit()  # what a method left open
        except BaseException:
            if self._conn is not None:
                self._conn.rollback()
            raise

    def _call(self, received: Received) -> None:
        self._at = received.at
        self._find_call(type(received.event))(received.event)
        if self._proxy is not None:
            self._proxy.check()

    def _find_call(self, operation: type[Operation]) -> Call:
        if operation not in self._calls:
            raise NotSupported(f"{type(self.database).__name__} has no method for {operation.name}")
        return self._calls[operation]

    def answer(self, query: Query, use: Callable[[Iterable[Any]], T]) -> T:
        """Return `use(rows)`. Raises NotSupported, and whatever the database raises."""
        return use_and_close(self._find_call(type(query))(query), use)

    def retention(self, now: float) -> Retention | None:
        """Return the deletion of old rows for a subclass of our BotDatabase, else None."""
        database = self.database
        return database.retention(now) if isinstance(database, BotDatabase) else None

    def release(self, busy_timeout: int | None = None) -> None:
        """Give the database back, with this busy time-out in ms or the one it had."""
        if self._proxy is not None:
            self.database.conn = self._conn  # type: ignore[attr-defined]
        self._use_clock(time.time)
        super().release(busy_timeout)


def _connection(database: object) -> sqlite3.Connection | None:
    conn = getattr(database, "conn", None)
    if isinstance(conn, DeferredCommits):
        raise DatabaseInUse("another service of this process uses the database")
    if not isinstance(conn, sqlite3.Connection):
        return None
    with ThreadPoolExecutor(1) as another_thread:
        try:
            another_thread.submit(conn.execute, "SELECT 1").result()
        except sqlite3.ProgrammingError as error:
            hint = (
                "it is bound to its thread, open it with sqlite3.connect(check_same_thread=False)"
                if sqlite_errors.is_fatal(error)
                else str(error)
            )
            raise NotAdoptable(f"the connection of the database cannot be used: {hint}") from None
    return conn


def _replace(database: object, conn: sqlite3.Connection) -> DeferredCommits | None:
    """Put the proxy in the place of `conn`. Return None if methods do not commit through it."""
    # In autocommit mode there is nothing to defer. Since Python 3.12 there is the attribute
    # `autocommit`; -1 is the mode of older versions.
    if conn.isolation_level is None or getattr(conn, "autocommit", -1) != -1:
        return None
    proxy = DeferredCommits(conn)
    try:
        database.conn = proxy  # type: ignore[attr-defined]
    except AttributeError:  # a property
        return None
    return proxy
