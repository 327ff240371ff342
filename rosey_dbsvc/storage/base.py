"""Base of the storages: batches, cursor, clock and busy time-out."""

import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, Final, TypeVar

from rosey_dbsvc.errors import NotAdoptable
from rosey_dbsvc.storage import connect, sqlite_errors
from rosey_dbsvc.storage.cursor import Cursor, Position, followed_stream
from rosey_dbsvc.storage.protocol import Outcome, Received, Rejection

T = TypeVar("T")

BUSY_TIMEOUT: Final = 250
"""Time that SQLite waits for a lock, in ms. It is short, because the writer retries."""
MAX_SINGLE: Final = 100
"""Events per call of `apply`, if each is a transaction: a stop waits for one call."""


def use_and_close(rows: Iterable[Any], use: Callable[[Iterable[Any]], T]) -> T:
    """Return `use(rows)`. A generator is closed, and with it what it reads from."""
    try:
        return use(rows)
    finally:
        if isinstance(rows, Generator):
            rows.close()


class EndsTransactions(Exception):
    """A method ended the transaction of a batch by itself."""


class BaseStorage(ABC):
    """Applies a batch as one transaction, or at worst each event as one."""

    commits_batches = True
    single_cursor = True
    """Whether the cursor moves in the transaction of an event that is applied by itself."""

    def __init__(self, database: object, conn: sqlite3.Connection | None) -> None:
        self.file = connect.file_of(conn) if conn else ""
        self.name = self.file or type(database).__name__
        self.cursor: Cursor | None = None
        self._conn = conn
        self._at: float | None = None
        self._busy_timeout = connect.busy_timeout(conn) if conn else 0
        self._set_busy_timeout(BUSY_TIMEOUT)

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[None]:
        """Return the transaction of a batch."""

    @abstractmethod
    def _savepoint(self) -> AbstractContextManager[None]:
        """Return a part of the transaction that is undone alone if it fails."""

    @abstractmethod
    def _single_transaction(self) -> AbstractContextManager[None]:
        """Return the transaction of one event."""

    @abstractmethod
    def _call(self, received: Received) -> None:
        """Apply an event."""

    def apply(self, batch: Sequence[Received], position: Position | None = None) -> Outcome:
        """Apply events in order; then move the cursor to the position."""
        try:
            outcome = self._apply_grouped(batch, position) if self.commits_batches else None
            return outcome or self._apply_singly(batch, position)
        finally:
            self._at = None

    def _apply_grouped(
        self, batch: Sequence[Received], position: Position | None
    ) -> Outcome | None:
        """Apply as one transaction; if an event fails, again with a savepoint for each.

        Return None, with nothing applied, if that is impossible.
        """
        for apply in (self._apply_together, self._apply_apart):
            outcome = self._attempt(batch, position, apply)
            if outcome is not None:
                return outcome
        return None

    def _attempt(
        self,
        batch: Sequence[Received],
        position: Position | None,
        apply: Callable[[Sequence[Received], Outcome], None],
    ) -> Outcome | None:
        """Apply in one transaction. Return None, with nothing applied, if an event failed."""
        outcome = Outcome()
        try:
            with self._transaction():
                apply(batch, outcome)
                self._move_cursor(position)
        except EndsTransactions:
            raise
        except Exception as error:  # noqa: BLE001  a database may raise anything
            return None if sqlite_errors.is_of_event(error) else Outcome(obstacle=error)
        self._set_position(position)
        return outcome

    def _apply_together(self, batch: Sequence[Received], outcome: Outcome) -> None:
        for received in batch:
            self._call(received)
        outcome.settled = len(batch)

    def _apply_apart(self, batch: Sequence[Received], outcome: Outcome) -> None:
        for received in batch:
            try:
                with self._savepoint():
                    self._call(received)
            except EndsTransactions:
                raise
            except Exception as error:
                if not sqlite_errors.is_of_event(error) or not self._is_in_transaction:
                    raise
                outcome.rejections.append(Rejection(received.event, error))
            outcome.settled += 1

    def _apply_singly(self, batch: Sequence[Received], position: Position | None) -> Outcome:
        """Apply up to MAX_SINGLE events, each in a transaction; then move the cursor."""
        outcome = Outcome()
        for received in batch[:MAX_SINGLE]:
            try:
                with self._single_transaction():
                    self._call(received)
                    if self.single_cursor:
                        self._move_cursor(received.position)
            except Exception as error:  # noqa: BLE001
                if not sqlite_errors.is_of_event(error):
                    outcome.obstacle = error
                    break
                outcome.rejections.append(Rejection(received.event, error))
            outcome.settled += 1
        if outcome.settled < len(batch):
            position = batch[outcome.settled - 1].position if outcome.settled else None
        cursor_error = self._commit_cursor(position)
        outcome.obstacle = outcome.obstacle or cursor_error
        return outcome

    def _commit_cursor(self, position: Position | None) -> Exception | None:
        """Move the cursor past what is settled or skipped; return the obstacle, if any."""
        if self.cursor is None or position is None:
            return None
        try:
            with self._single_transaction():
                self._move_cursor(position)
        except (sqlite3.Error, sqlite_errors.CursorError) as error:
            return error
        self._set_position(position)
        return None

    @property
    def _is_in_transaction(self) -> bool:
        return self._conn is not None and self._conn.in_transaction

    def _clock(self) -> float:
        """Return the time of the current event, or the time."""
        return time.time() if self._at is None else self._at

    @property
    def followed_stream(self) -> str:
        """Name of the stream that the database has a cursor for, empty if none."""
        return followed_stream(self._conn) if self._conn else ""

    def follow(self, stream: str) -> None:
        """Open the cursor for a stream. Raises NotAdoptable without `conn`, or sqlite3.Error."""
        if self._conn is None:
            raise NotAdoptable(
                f"{self.name} has no SQLite connection in `conn`: durable mode keeps its cursor "
                "there"
            )
        self.cursor = Cursor(self._conn, stream)

    def _move_cursor(self, position: Position | None) -> None:
        """Write the position, to be committed with the events before it. Raises CursorError."""
        if self.cursor is not None and position is not None:
            try:
                self.cursor.move(position)
            except sqlite3.Error as error:
                raise sqlite_errors.CursorError(f"cannot write the cursor: {error}") from error

    def _set_position(self, position: Position | None) -> None:
        """Set the position after its commit."""
        if self.cursor is not None and position is not None:
            self.cursor.position = position

    def release(self, busy_timeout: int | None = None) -> None:
        """Set this busy time-out, in ms, or the one that the connection had."""
        with suppress(sqlite3.Error):  # its owner may have closed it
            self._set_busy_timeout(self._busy_timeout if busy_timeout is None else busy_timeout)

    def _set_busy_timeout(self, milliseconds: int) -> None:
        if self._conn is not None:
            self._conn.execute(f"PRAGMA busy_timeout = {milliseconds}")
