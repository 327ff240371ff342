"""What an exception out of a database means for the events at hand.

Three answers: the event is at fault, and is rejected; the surroundings are, and time may help; or
the file is beyond help. See "Result Codes" in SQLite's documentation.
"""

import errno
import sqlite3
from typing import Final

from rosey_dbsvc.operations.codec import shorten

PRIMARY: Final = 0xFF
"""Of an extended result code, the part that says which kind it is."""

PASSING: Final = frozenset(
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

PASSING_ERRNO: Final = frozenset(
    {errno.EAGAIN, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.ENOSPC, errno.EROFS}
)


def is_of_the_event(error: Exception) -> bool:
    """Return whether the event is at fault, and not what is around it."""
    if isinstance(error, OSError):
        return error.errno not in PASSING_ERRNO
    return _primary(error) not in PASSING and not is_fatal(error)


def is_passing(error: sqlite3.Error) -> bool:
    """Return whether time may help."""
    return _primary(error) in PASSING


def is_fatal(error: Exception) -> bool:
    """Return whether the database cannot be used, or no longer."""
    return _primary(error) in FATAL or _is_in_the_wrong_thread(error)


def begins_transactions(error: Exception) -> bool:
    """Return whether a method began a transaction of its own within the one of a batch."""
    return isinstance(error, sqlite3.OperationalError) and "within a transaction" in str(error)


def _is_in_the_wrong_thread(error: Exception) -> bool:
    return isinstance(error, sqlite3.ProgrammingError) and "created in a thread" in str(error)


def _primary(error: Exception) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return code & PRIMARY if isinstance(error, sqlite3.Error) and code is not None else None


def describe(error: BaseException) -> str:
    """Return the error on one line."""
    return shorten(f"{type(error).__name__}: {error}")
