"""Connection proxy that defers commits to the end of a batch."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rosey_dbsvc.storage import sqlite_errors


class RolledBack(Exception):
    """A method rolled back, and so undid the events before its own."""


class EndsTransactions(Exception):
    """A method ended the transaction of the batch by itself."""


@dataclass(slots=True)
class BatchState:
    """State of a batch: whether one is open, and why it cannot be committed."""

    is_open: bool = False
    failure: Exception | None = None


class DeferredCommits:
    """Takes the place of the `conn` of a database whose methods commit.

    During a batch `commit` does nothing, and a `rollback` is noted. Apart from that, it is the
    connection.
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
        """Roll back. During a batch it also undoes the events before, so the batch fails."""
        if not self._state.is_open:
            self.conn.rollback()
        elif not self.conn.in_transaction:  # SQLite does that when the disk is full
            self._state.failure = OSError(errno.ENOSPC, "SQLite rolled the transaction back")
        else:
            self._state.failure = RolledBack()
            self.conn.rollback()
            self.conn.execute("BEGIN IMMEDIATE")

    def executescript(self, script: str) -> sqlite3.Cursor:
        """Execute a script. Python commits before it."""
        if self._state.is_open:
            self._state.failure = EndsTransactions()
        return self.conn.executescript(script)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Run the calls inside in one transaction."""
        self.conn.commit()  # what a method outside of a batch left open
        self.conn.execute("BEGIN IMMEDIATE")
        self._state.is_open, self._state.failure = True, None
        try:
            yield
            self.conn.commit()
        except Exception as error:
            ended = not self.conn.in_transaction and sqlite_errors.is_of_event(error)
            self.conn.rollback()
            if isinstance(self._state.failure, OSError):
                raise self._state.failure from error
            if ended:
                raise EndsTransactions from error
            raise
        finally:
            self._state.is_open = False

    def check(self, *, alone: bool) -> None:
        """Check after a call that the batch's transaction is still open.

        A method may roll back if its event is alone in the batch. Raises RolledBack,
        EndsTransactions, or an OSError if SQLite rolled it back.
        """
        failure = self._state.failure
        if failure is not None and not (alone and isinstance(failure, RolledBack)):
            raise failure
        if not self.conn.in_transaction:
            raise EndsTransactions
