"""Classes of database errors: of the event, transient, or fatal.

See "Result and Error Codes" in SQLite's documentation.
"""

import errno
import sqlite3
from typing import Final

PRIMARY_CODE: Final = 0xFF  # bits of an extended result code that are its primary code

TRANSIENT: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
FATAL: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
TRANSIENT_ERRNO: Final = frozenset(
    {errno.EAGAIN, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.ENOSPC, errno.EROFS}
)


class CursorError(Exception):
    """The cursor cannot be written, which is no fault of an event."""


def is_of_event(error: Exception) -> bool:
    """Return whether the event caused the error, so that it would fail again."""
    if isinstance(error, CursorError):
        return False
    if isinstance(error, OSError):
        return error.errno not in TRANSIENT_ERRNO
    return not is_transient(error) and not is_fatal(error)


def is_transient(error: Exception) -> bool:
    """Return whether a SQLite error may pass: a lock, a full disk."""
    return _primary_code(error) in TRANSIENT


def is_fatal(error: Exception) -> bool:
    """Return whether the database is not usable any more."""
    return _primary_code(error) in FATAL or _is_unusable(error)


def is_nested_begin(error: Exception) -> bool:
    """Return whether a method tried to begin a transaction inside the batch's transaction."""
    return isinstance(error, sqlite3.OperationalError) and "within a transaction" in str(error)


def _is_unusable(error: Exception) -> bool:
    """Return whether the connection is closed, or bound to another thread."""
    texts = ("created in a thread", "closed database")
    return isinstance(error, sqlite3.ProgrammingError) and any(text in str(error) for text in texts)


def _primary_code(error: Exception) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return code & PRIMARY_CODE if isinstance(error, sqlite3.Error) and code is not None else None
