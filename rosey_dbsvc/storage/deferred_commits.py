"""One transaction around the calls of methods that each commit."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from rosey_dbsvc.errors import DatabaseInUse, NotAdoptable
from rosey_dbsvc.storage import sqlite_errors as faults

BUSY_TIMEOUT: Final = 250
"""How long SQLite itself waits for a lock, in ms. The writer tries again, and can be stopped."""


# A row that is there if the transaction of a batch was committed, and not if it was rolled back.
MAKE_MARK: Final = "CREATE TEMP TABLE IF NOT EXISTS rosey_dbsvc_batch (number INTEGER)"
MARK: Final = "INSERT INTO temp.rosey_dbsvc_batch VALUES (?)"
IS_MARKED: Final = "SELECT count(*) FROM temp.rosey_dbsvc_batch WHERE number ="
FORGET_MARKS: Final = "DELETE FROM temp.rosey_dbsvc_batch"
DROP_MARK: Final = "DROP TABLE IF EXISTS temp.rosey_dbsvc_batch"


class TornBatch(Exception):
    """A method rolled back, and with it what was not its own: the batch is to be done over."""


class OwnTransactions(Exception):
    """A method has ended the transaction that it was called in: what went before is committed."""


class RolledBack(Exception):
    """A method has rolled back the transaction by itself: nothing of the batch is there."""


@dataclass(slots=True)
class State:
    """Whether commits wait, whether the event at hand can be undone alone, and what was undone."""

    deferring: bool = False
    isolating: bool = False
    torn: bool = False
    lost: bool = False
    ended: bool = False
    scripted: bool = False
    number: int = 0

    def begin(self) -> None:
        """Begin a batch, of which nothing is known yet."""
        self.deferring = True
        self.torn = self.lost = self.ended = self.scripted = False
        self.number += 1


class Group:
    """Stands in for the connection of a database whose methods commit.

    During a batch `commit` waits for its end, and `rollback` undoes no more than the event at hand.
    At any other time, and in everything else, it is that connection.
    """

    conn: sqlite3.Connection
    _state: State
    _busy_timeout: int

    def __init__(self, conn: sqlite3.Connection) -> None:
        busy_timeout = _value(conn, "SELECT timeout FROM pragma_busy_timeout")
        vars(self).update(conn=conn, _state=State(), _busy_timeout=busy_timeout)
        conn.execute(MAKE_MARK)

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

    @property
    def file(self) -> str:
        """The path of the database's file, empty for one in memory."""
        # As bytes: a path need not be UTF-8.
        file: bytes = _value(self.conn, "SELECT CAST(file AS BLOB) FROM pragma_database_list")
        return os.fsdecode(file)

    @property
    def ended(self) -> bool:
        """Whether the transaction of the batch that failed had been ended before."""
        return self._state.ended

    def commit(self) -> None:
        """Commit, outside of a batch."""
        if not self._state.deferring:
            self.conn.commit()

    def rollback(self) -> None:
        """Roll back, within a batch to the beginning of the event."""
        if not self._state.deferring:
            self.conn.rollback()
        elif not self.conn.in_transaction:
            self._state.lost = True  # SQLite was first, as it is when the disk is full
        elif self._state.isolating:
            self.conn.execute("ROLLBACK TO event")
        else:
            self._state.torn = True

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Make one transaction of what is called inside: all of it is committed, or nothing."""
        self.conn.commit()  # what a method outside of a batch has left open
        self.conn.execute("BEGIN IMMEDIATE")
        self._state.begin()
        try:
            self.conn.execute(FORGET_MARKS)
            self.conn.execute(MARK, (self._state.number,))
            yield
            self.conn.commit()
        except BaseException:
            self._state.ended = not self.conn.in_transaction and self._is_committed()
            self.conn.rollback()
            raise
        finally:
            self._state.deferring = False

    def check(self) -> None:
        """See after a call in a batch that its transaction is still there.

        Raises TornBatch, OwnTransactions, RolledBack, or an OSError if SQLite has rolled it back.
        """
        if self._state.scripted:
            self.conn.commit()  # what came after the script
        if self._state.lost:
            raise OSError(errno.ENOSPC, "SQLite has rolled the transaction back")
        if self._state.torn:
            raise TornBatch
        if not self.conn.in_transaction:
            raise self._how_it_ended()

    def _how_it_ended(self) -> OwnTransactions | RolledBack:
        return OwnTransactions() if self._is_committed() else RolledBack()

    def _is_committed(self) -> bool:
        return bool(_value(self.conn, f"{IS_MARKED} {self._state.number}"))

    @contextmanager
    def event(self) -> Iterator[None]:
        """Undo, within a batch, what is called inside if it fails."""
        self.conn.execute("SAVEPOINT event")
        self._state.isolating = True
        try:
            yield
            self.check()
        except Exception as error:
            if self.conn.in_transaction:
                self.conn.execute("ROLLBACK TO event")
            elif faults.is_of_the_event(error) and not _tells(error):
                raise self._how_it_ended() from error
            raise
        finally:
            self._state.isolating = False
            if self.conn.in_transaction:
                self.conn.execute("RELEASE event")

    def executescript(self, script: str) -> sqlite3.Cursor:
        """Execute a script, before which Python commits."""
        self._state.scripted = self._state.deferring
        return self.conn.executescript(script)

    def _set_busy_timeout(self, milliseconds: int) -> None:
        self.conn.execute(f"PRAGMA busy_timeout = {milliseconds}")

    @classmethod
    def of(cls, database: object) -> Self | None:
        """Take the place of the database's `conn`.

        None if it has no SQLite connection there, or one whose commits are not its methods' own.
        Raises NotAdoptable if the connection keeps to the thread it was made in, and DatabaseInUse.
        """
        conn = getattr(database, "conn", None)
        if isinstance(conn, Group):
            raise DatabaseInUse("another service of this process uses the database")
        if not isinstance(conn, sqlite3.Connection):
            return None
        _refuse_thread_bound(conn)
        if not _commits_explicitly(conn):
            return None
        group = cls(conn)
        try:
            database.conn = group  # type: ignore[attr-defined]
        except AttributeError:  # a property
            return None
        group._set_busy_timeout(BUSY_TIMEOUT)
        return group

    def release(self, database: object, busy_timeout: int | None = None) -> None:
        """Give the database its connection back, waiting for locks as it did, or so many ms."""
        self._set_busy_timeout(self._busy_timeout if busy_timeout is None else busy_timeout)
        self.conn.execute(DROP_MARK)
        database.conn = self.conn  # type: ignore[attr-defined]


def _tells(error: Exception) -> bool:
    return isinstance(error, OwnTransactions | RolledBack | TornBatch)


def _value(conn: sqlite3.Connection, sql: str) -> Any:  # noqa: ANN401
    cursor = conn.cursor()
    cursor.row_factory = None  # the connection's may make anything of a row
    return cursor.execute(sql).fetchone()[0]


def _commits_explicitly(conn: sqlite3.Connection) -> bool:
    # In autocommit mode methods begin transactions themselves, or need none. Since Python 3.12
    # there is `autocommit`, and -1 is the mode that was the only one before.
    return conn.isolation_level is not None and getattr(conn, "autocommit", -1) == -1


def _refuse_thread_bound(conn: sqlite3.Connection) -> None:
    with ThreadPoolExecutor(1) as another_thread:
        try:
            another_thread.submit(conn.execute, "SELECT 1").result()
        except sqlite3.ProgrammingError:
            raise NotAdoptable(
                "the database's connection works in one thread only: "
                "open it with sqlite3.connect(..., check_same_thread=False)"
            ) from None
