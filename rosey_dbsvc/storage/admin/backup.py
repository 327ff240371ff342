"""A copy of a database that is whole, and taken while a service writes."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from rosey_dbsvc.cli.progress import Report
from rosey_dbsvc.errors import BackupFailed, CannotOpen
from rosey_dbsvc.operations.codec import shorten
from rosey_dbsvc.storage import sqlite_errors as faults
from rosey_dbsvc.storage.admin.interruptible import execute
from rosey_dbsvc.storage.lock import check_file
from rosey_dbsvc.storage.opening import open_existing

MAGIC: Final = b"SQLite format 3\0"
"""What a database begins with."""
PAGES: Final = 1000
"""How much is copied between two reports."""
IN_USE: Final = ("-wal", "-journal", ".lock")
"""What lies beside a database that somebody uses."""
SOUND: Final = [("ok",)]


def back_up(path: str, destination: str, report: Report) -> int:
    """Copy the database at the path to a file that then is whole, or as it was before.

    An older backup is replaced. Return its size in bytes. Raises CannotOpen or NotADatabase if it
    cannot be begun, and BackupFailed.
    """
    file = _file_for(path, destination)
    try:
        with _replaced(file) as fresh:
            with closing(_snapshot(path)) as source:
                _copy(source, fresh, report)
            _check_sound(fresh)
            return fresh.stat().st_size
    except (OSError, sqlite3.Error) as error:
        raise BackupFailed(f"the backup of {path} failed: {faults.describe(error)}") from error


def _file_for(path: str, destination: str) -> Path:
    """Return the file to make, behind all links."""
    try:
        check_file(destination)
        file = Path(os.path.realpath(destination))
        if file.exists():
            _check_replaceable(file, destination)
        _check_unused(path, file, destination)
    except OSError as error:
        raise CannotOpen(f"cannot write {destination}: {error.strerror}") from None
    return file


def _check_replaceable(file: Path, destination: str) -> None:
    if not file.is_file():
        raise CannotOpen(f"{destination} is no file: name one")
    with file.open("rb") as there:
        if there.read(len(MAGIC)) not in {MAGIC, b""}:
            raise CannotOpen(f"{destination} is there and no database: name another file")


def _check_unused(path: str, file: Path, destination: str) -> None:
    source = os.path.realpath(path)
    if file.exists() and Path(source).exists() and file.samefile(source):
        raise CannotOpen(f"{destination} is the database itself: name another file")
    for suffix in IN_USE:
        beside = Path(f"{file}{suffix}")
        if beside.exists() or str(file) == f"{source}{suffix}":
            raise CannotOpen(f"{beside} is, or was, of a database in use: name another file")


def _snapshot(path: str) -> sqlite3.Connection:
    """Open the database as it is now: what is committed later is not seen.

    SQLite would begin anew with each commit of another process, and come to no end.
    """
    conn = open_existing(path)
    conn.execute("BEGIN")
    conn.execute("SELECT 1 FROM sqlite_master").fetchone()
    return conn


def _copy(source: sqlite3.Connection, fresh: Path, report: Report) -> None:
    with closing(sqlite3.connect(fresh)) as copy:
        # Nobody reads it before it is whole: it need not be safe on the way.
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")
        source.backup(
            copy, pages=PAGES, progress=lambda _, left, total: report(total - left, total)
        )
        # Write-ahead mode came with the pages; without it, a copy is read without files beside it.
        copy.execute("PRAGMA journal_mode = DELETE")


def _check_sound(fresh: Path) -> None:
    with closing(sqlite3.connect(fresh, check_same_thread=False)) as copy:
        found = execute(copy, "PRAGMA integrity_check(1)")
    if found != SOUND:
        what = shorten(" ".join(str(found[0][0]).split()))
        raise BackupFailed(f"the database is damaged, and so would be its backup: {what}")


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """Yield a new file, readable by its owner only, that takes the place of the path at the end."""
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        fresh = Path(file.name)
        try:
            yield fresh
            os.fsync(file.fileno())
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Make sure that the new name is on the disk."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
