"""Connection proxy that defers commits to the end of a batch."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rosey_dbsvc.storage import sqlite_errors
from rosey_dbsvc.storage.base import EndsTransactions


class RolledBack(Exception):
    """A method rolled back, and so undid the events before its own: the batch must be repeated."""


@dataclass(slots=True)
class BatchState:
    """State of a batch: whether one is open, inside a savepoint, and why it cannot commit."""

    is_open: bool = False
    has_savepoint: bool = False
    failure: Exception | None = None


class DeferredCommits:
    """Takes the place of the `conn` of a database whose methods commit.

    During a batch `commit` does nothing, and `rollback` undoes the current event only. Apart from
    that, it is the connection.
    """

    conn: sqlite3.Connection
    _state: BatchState

    def __init__(self, conn: sqlite3.Connection) -> None:
        vars(self).update(conn=conn, _state=BatchState())

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.conn, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.conn, name, value)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self.rollback()
            return
        try:
            self.commit()
        except sqlite3.Error:
            self.rollback()
            raise

    def commit(self) -> None:
        """Commit, unless a batch is open."""
        if not self._state.is_open:
            self.conn.commit()

    def rollback(self) -> None:
        """Roll back; during a batch, to the beginning of the event."""
        if not self._state.is_open:
            self.conn.rollback()
        elif (failure := self._why_it_ended()) is not None:
            self._state.failure = self._state.failure or failure
        elif self._state.has_savepoint:
            self.conn.execute("ROLLBACK TO event")
        else:
            self._state.failure = RolledBack()

    def _why_it_ended(self) -> Exception | None:
        """Return why the transaction is gone, judging by the error that a method handles."""
        error = sys.exc_info()[1]
        if isinstance(error, Exception) and sqlite_errors.is_nested_begin(error):
            return EndsTransactions()
        if self.conn.in_transaction:
            return None
        if isinstance(error, Exception) and not sqlite_errors.is_of_event(error):
            return error  # SQLite rolls back by itself when the disk is full
        return EndsTransactions()

    def executescript(self, script: str) -> sqlite3.Cursor:
        """Execute a script. Python commits before it."""
        if self._state.is_open:
            self._state.failure = EndsTransactions()
        return self.conn.executescript(script)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Run the calls inside in one transaction. Raises EndsTransactions if one ended it."""
        self.conn.commit()  # what a method outside of a batch left open
        self.conn.execute("BEGIN IMMEDIATE")
        self.conn.execute("SAVEPOINT batch")  # to notice a transaction that ended and began anew
        self._state.is_open, self._state.failure = True, None
        try:
            yield
            self.check()
            self._release("batch")
            self.conn.commit()
        except BaseException as error:
            ended = not self.conn.in_transaction
            self.conn.rollback()
            if isinstance(error, Exception):
                self._raise_failure(error, ended=ended)
            raise
        finally:
            self._state.is_open = False

    def check(self) -> None:
        """Check that the transaction of the batch, if there is one, is still open.

        Raises EndsTransactions, RolledBack, or the error because of which SQLite rolled back.
        """
        if not self._state.is_open:
            return
        if self._state.failure is not None:
            raise self._state.failure
        if not self.conn.in_transaction:
            raise EndsTransactions

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo the calls inside if they fail, and nothing else of the batch."""
        self.conn.execute("SAVEPOINT event")
        self._state.has_savepoint = True
        try:
            yield
            self.check()
        except Exception as error:
            self._raise_failure(error, ended=not self.conn.in_transaction)
            if self.conn.in_transaction:
                self._release("event", undo=True)
            raise
        else:
            self._release("event")
        finally:
            self._state.has_savepoint = False

    def _raise_failure(self, error: Exception, *, ended: bool) -> None:
        """Raise in place of an error what is the matter with the transaction, if anything is."""
        if sqlite_errors.is_nested_begin(error):
            raise EndsTransactions from error
        if ended and sqlite_errors.is_of_event(error):
            raise (self._state.failure or EndsTransactions()) from error

    def _release(self, name: str, *, undo: bool = False) -> None:
        try:
            if undo:
                self.conn.execute(f"ROLLBACK TO {name}")
            self.conn.execute(f"RELEASE {name}")
        except sqlite3.OperationalError as error:
            if "no such savepoint" not in str(error):
                raise
            raise EndsTransactions from error
