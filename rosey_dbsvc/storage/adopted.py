"""Storage over any object with the methods of a BotDatabase."""

import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from rosey_dbsvc._text import Logger
from rosey_dbsvc.errors import DatabaseInUse, NotAdoptable, NotSupported
from rosey_dbsvc.operations.base import Operation, Query
from rosey_dbsvc.storage import sqlite_errors
from rosey_dbsvc.storage.adopted_methods import Call, calls
from rosey_dbsvc.storage.base import BaseStorage
from rosey_dbsvc.storage.batches import apply_in_halves
from rosey_dbsvc.storage.cursor import Position
from rosey_dbsvc.storage.deferred_commits import DeferredCommits, EndsTransactions
from rosey_dbsvc.storage.protocol import Outcome, Received, Rejection, Retention
from rosey_dbsvc.storage.sqlite import BotDatabase

logger = Logger(__name__)

T = TypeVar("T")

MAX_SINGLE: Final = 100
"""Events per call of `apply`, if each is a transaction: a stop waits for one call."""


class AdoptedStorage(BaseStorage):
    """Anybody's BotDatabase, unmodified.

    If it has a sqlite3.Connection in `conn`, a batch is one transaction. If its methods end
    transactions by themselves, each event is applied by itself from then on, at least once. If it
    has a method `use_clock`, that gets a function with the time of each event.
    """

    readers = 0

    def __init__(self, database: object) -> None:
        """Raise NotAdoptable for a missing method or a connection bound to its thread."""
        self.database = database
        self._calls = calls(database)
        conn = _connection(database)
        super().__init__(database, conn)
        self._is_replaced = conn is not None and _replace(database, conn)
        self.commits_batches = self._is_replaced
        self._use_clock(self._clock)

    def _use_clock(self, clock: Callable[[], float]) -> None:
        if callable(use_clock := getattr(self.database, "use_clock", None)):
            use_clock(clock)

    def apply(self, batch: Sequence[Received], position: Position | None = None) -> Outcome:
        """Apply events in order: as one transaction if possible, else one by one."""
        try:
            outcome = None
            if self.commits_batches:
                outcome = self._apply_grouped(batch, position)
            if outcome is None:
                outcome = self._apply_singly(batch, position)
        finally:
            self._at = None
        outcome.raise_if_fatal()
        return outcome

    def _apply_grouped(
        self, batch: Sequence[Received], position: Position | None
    ) -> Outcome | None:
        """Apply as one transaction. Return None if the database ends transactions by itself."""
        try:
            return apply_in_halves(self._attempt, batch, position)
        except EndsTransactions:
            logger.warning(
                "%(database)s ends transactions by itself: from now on each event is applied by "
                "itself, at least once",
                database=self.name,
            )
            self.commits_batches = False
            return None

    def _attempt(self, batch: Sequence[Received], position: Position | None) -> Exception | None:
        """Apply as one transaction; return the error if nothing was applied."""
        proxy: DeferredCommits = self.database.conn  # type: ignore[attr-defined]
        try:
            with proxy.batch():
                for received in batch:
                    self._call(received)
                    proxy.check(alone=len(batch) == 1)
                self._move_cursor(position)
        except EndsTransactions:
            raise
        except Exception as error:
            if sqlite_errors.is_nested_begin(error):
                raise EndsTransactions from error
            return error
        self._set_position(position)
        return None

    def _apply_singly(self, batch: Sequence[Received], position: Position | None) -> Outcome:
        """Apply events that commit by themselves, up to MAX_SINGLE; then move the cursor."""
        outcome = Outcome()
        for received in batch[:MAX_SINGLE]:
            try:
                self._call_alone(received)
            except Exception as error:  # noqa: BLE001  a database may raise anything
                if not sqlite_errors.is_of_event(error):
                    outcome.obstacle = error
                    break
                outcome.rejections.append(Rejection(received.event, error))
            outcome.settled += 1
        if outcome.settled < len(batch):
            position = batch[outcome.settled - 1].position if outcome.settled else None
        self._commit_cursor(position, outcome)
        return outcome

    def _call_alone(self, received: Received) -> None:
        try:
            self._call(received)
        except Exception:
            if self._conn is not None:
                self._conn.rollback()  # or the next event would commit it
            raise

    def _commit_cursor(self, position: Position | None, outcome: Outcome) -> None:
        try:
            self._move_cursor(position)
            if self._conn is not None:
                self._conn.commit()  # also what a method left open
            self._set_position(position)
        except sqlite3.Error as error:
            outcome.obstacle = outcome.obstacle or error

    def _call(self, received: Received) -> None:
        self._at = received.at
        self._find_call(type(received.event))(received.event)

    def _find_call(self, operation: type[Operation]) -> Call:
        if operation not in self._calls:
            raise NotSupported(f"{type(self.database).__name__} has no method for {operation.name}")
        return self._calls[operation]

    def answer(self, query: Query, use: Callable[[Iterable[Any]], T]) -> T:
        """Return `use(rows)`. Raises NotSupported, and whatever the database raises."""
        rows = self._find_call(type(query))(query)
        try:
            return use(rows)
        finally:
            if isinstance(rows, Generator):
                rows.close()

    def retention(self, now: float) -> Retention | None:
        """Return the deletion of old rows for a subclass of our BotDatabase, else None."""
        database = self.database
        return database.retention(now) if isinstance(database, BotDatabase) else None

    def release(self, busy_timeout: int | None = None) -> None:
        """Give the database back, with this busy time-out in ms or the one it had."""
        super().release(busy_timeout)
        if self._is_replaced:
            self.database.conn = self._conn  # type: ignore[attr-defined]
        self._use_clock(time.time)


def _connection(database: object) -> sqlite3.Connection | None:
    conn = getattr(database, "conn", None)
    if isinstance(conn, DeferredCommits):
        raise DatabaseInUse("another service of this process uses the database")
    if not isinstance(conn, sqlite3.Connection):
        return None
    with ThreadPoolExecutor(1) as another_thread:
        try:
            another_thread.submit(conn.execute, "SELECT 1").result()
        except sqlite3.ProgrammingError:
            raise NotAdoptable(
                "the connection of the database is bound to its thread: "
                "open it with sqlite3.connect(..., check_same_thread=False)"
            ) from None
    return conn


def _replace(database: object, conn: sqlite3.Connection) -> bool:
    """Put the proxy in the place of `conn`. Return False if methods do not commit through it."""
    # In autocommit mode there is nothing to defer. Since Python 3.12 there is the attribute
    # `autocommit`; -1 is the mode of older versions.
    if conn.isolation_level is None or getattr(conn, "autocommit", -1) != -1:
        return False
    try:
        database.conn = DeferredCommits(conn)  # type: ignore[attr-defined]
    except AttributeError:  # a property
        return False
    return True
