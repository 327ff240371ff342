"""Opening SQLite files, and small questions to a connection."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Literal

from rosey_dbsvc._text import describe
from rosey_dbsvc.errors import CannotOpen, DbsvcError, NotADatabase
from rosey_dbsvc.storage import sqlite_errors

HEADER: Final = b"SQLite format 3\0"
"""First bytes of a database file."""


def check_header(path: str) -> None:
    """Raise NotADatabase for an existing file of another format."""
    try:
        with Path(path).open("rb") as file:
            header = file.read(len(HEADER))
    except OSError:  # opening the database explains it
        return
    if header not in {HEADER, b""}:
        raise NotADatabase(f"{path} is not a readable SQLite database: file is not a database")


def connect(path: str, mode: Literal["ro", "rw"], timeout: float = 5.0) -> sqlite3.Connection:
    """Open an existing file for all threads. `timeout` is the wait for locks, in seconds."""
    uri = f"{Path(path).absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=timeout, check_same_thread=False)


def open_existing(path: str, timeout: float = 5.0) -> sqlite3.Connection:
    """Open an existing database, maybe beside its service. Raises CannotOpen or NotADatabase."""
    try:
        if not Path(path).exists():
            raise CannotOpen(f"{path} does not exist: name an existing database")
        conn = connect(path, "rw", timeout)
        try:
            conn.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.Error:
            conn.close()
            raise
    except (OSError, sqlite3.Error) as error:
        raise opening_error(error, path) from error
    return conn


def opening_error(error: Exception, path: str) -> DbsvcError:
    """Return the error to raise for an exception while a database is opened."""
    if sqlite_errors.is_fatal(error):
        return NotADatabase(f"{path} is not a readable SQLite database: {error}")
    if isinstance(error, OSError):
        return CannotOpen(f"cannot open {path}: {error.strerror}")
    if isinstance(error, sqlite3.Error):
        return CannotOpen(f"cannot open {path}: {error}{_hint(error, path)}")
    return CannotOpen(f"cannot open {path}: {describe(error)}")


def _hint(error: sqlite3.Error, path: str) -> str:
    if "locked" in str(error):
        return ": another program holds a lock"
    if os.path.exists(path) and not os.access(path, os.R_OK | os.W_OK):  # noqa: PTH110
        return ": permission denied"
    return ""


def plain_rows(conn: sqlite3.Connection, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Return rows as tuples of plain values, whatever the factories of the connection are."""
    text_factory, conn.text_factory = conn.text_factory, str
    try:
        with closing(conn.cursor()) as cursor:
            cursor.row_factory = None
            return cursor.execute(sql, values).fetchall()
    finally:
        conn.text_factory = text_factory


def file_of(conn: sqlite3.Connection) -> str:
    """Return the path of the connection's file, empty for a database in memory."""
    # As bytes: a path is not always UTF-8.
    ((file,),) = plain_rows(
        conn, "SELECT CAST(file AS BLOB) FROM pragma_database_list WHERE name = 'main'"
    )
    return os.fsdecode(file)


def busy_timeout(conn: sqlite3.Connection) -> int:
    """Return how long SQLite waits for a lock, in ms."""
    ((milliseconds,),) = plain_rows(conn, "SELECT timeout FROM pragma_busy_timeout")
    return int(milliseconds)
