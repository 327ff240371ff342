"""Backup of a database that may be in use by a service."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from rosey_dbsvc._text import describe, shorten
from rosey_dbsvc.errors import BackupFailed, CannotOpen
from rosey_dbsvc.storage.admin import Report
from rosey_dbsvc.storage.admin.interruptible import execute
from rosey_dbsvc.storage.connect import HEADER, open_existing
from rosey_dbsvc.storage.lock import check_path

PAGES_PER_STEP: Final = 1000  # pages that are copied between two reports
IN_USE_SUFFIXES: Final = ("-wal", "-journal", ".lock")
"""Suffixes of the files beside a database in use."""
INTACT: Final = [("ok",)]  # result of an integrity check without errors


def back_up(path: str, destination: str, report: Report) -> int:
    """Copy the database to a file, check the copy, and return its size in bytes.

    The destination is replaced when the copy is complete. Raises CannotOpen or NotADatabase if the
    backup cannot start, and BackupFailed.
    """
    file = _check_destination(path, destination)
    try:
        with _replacement(file) as fresh:
            with closing(_snapshot(path)) as source:
                _copy(source, fresh, report)
            _check_integrity(fresh)
            return fresh.stat().st_size
    except (OSError, sqlite3.Error) as error:
        raise BackupFailed(f"the backup of {path} failed: {describe(error)}") from error


def _check_destination(path: str, destination: str) -> Path:
    """Return the file to write, with all links resolved."""
    try:
        check_path(destination)
        file = Path(os.path.realpath(destination))
        if file.exists():
            _check_replaceable(file, destination)
        _check_unused(path, file, destination)
    except OSError as error:
        raise CannotOpen(f"cannot write {destination}: {error.strerror}") from None
    return file


def _check_replaceable(file: Path, destination: str) -> None:
    if not file.is_file():
        raise CannotOpen(f"{destination} is not a regular file: name another")
    with file.open("rb") as existing:
        if existing.read(len(HEADER)) not in {HEADER, b""}:
            raise CannotOpen(f"{destination} exists and is not a database: name another file")


def _check_unused(path: str, file: Path, destination: str) -> None:
    source = os.path.realpath(path)
    if file.exists() and Path(source).exists() and file.samefile(source):
        raise CannotOpen(f"{destination} is the database itself: name another file")
    for suffix in IN_USE_SUFFIXES:
        beside = Path(f"{file}{suffix}")
        if beside.exists() or str(file) == f"{source}{suffix}":
            raise CannotOpen(f"{beside} belongs to a database in use: name another file")


def _snapshot(path: str) -> sqlite3.Connection:
    """Open a read transaction, which does not see later commits.

    Without it SQLite restarts the copy after each commit of another process, and never ends.
    """
    conn = open_existing(path)
    conn.execute("BEGIN")
    conn.execute("SELECT 1 FROM sqlite_master").fetchone()
    return conn


def _copy(source: sqlite3.Connection, fresh: Path, report: Report) -> None:
    with closing(sqlite3.connect(fresh)) as copy:
        # Nobody reads the copy before it is complete, so it needs no journal.
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")
        source.backup(
            copy, pages=PAGES_PER_STEP, progress=lambda _, left, total: report(total - left, total)
        )
        # Out of WAL mode, which was copied with the pages: a reader then needs no other files.
        copy.execute("PRAGMA journal_mode = DELETE")


def _check_integrity(fresh: Path) -> None:
    with closing(sqlite3.connect(fresh, check_same_thread=False)) as copy:
        found = execute(copy, "PRAGMA integrity_check(1)")
    if found != INTACT:
        problem = shorten(" ".join(str(found[0][0]).split()))
        raise BackupFailed(f"the database is damaged, so it was not backed up: {problem}")


@contextmanager
def _replacement(path: Path) -> Iterator[Path]:
    """Yield a new file, readable by its owner only, that replaces the path at the end."""
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        fresh = Path(file.name)
        try:
            yield fresh
            os.fsync(file.fileno())
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
    _flush_directory(path.parent)


def _flush_directory(folder: Path) -> None:
    """Flush a new name in the directory to disk."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
