"""One writer per database file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rosey_dbsvc.errors import CannotOpen, DatabaseInUse


@contextmanager
def writer_lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other services from writing this file, also under another of its names.

    The operating system releases the lock when the process dies. The file `PATH.lock` stays, and
    contains the process id. Raises DatabaseInUse or CannotOpen.
    """
    file = Path(os.path.realpath(path))
    lock_file = file.with_name(f"{file.name}.lock")
    # Not bound to a thread: it is released in whichever thread closes the database.
    lock = FileLock(lock_file, blocking=False, thread_local=False)
    try:
        check_path(path)
        lock.acquire()
        lock_file.write_text(f"{os.getpid()}\n")
        _copy_owner(file, lock_file)
    except Timeout:
        if not lock_file.exists():
            raise CannotOpen(f"cannot write {lock_file}") from None
        pid = lock_file.read_text().strip() or "unknown"
        raise DatabaseInUse(
            f"another service uses {path}: stop it first, its process id is {pid}"
        ) from None
    except OSError as error:
        raise CannotOpen(f"cannot write {lock_file}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


def _copy_owner(file: Path, lock_file: Path) -> None:
    # As SQLite does for its files: the next service may not run as root.
    if os.name != "nt" and os.geteuid() == 0 and file.exists():
        owner = file.stat()
        os.chown(lock_file, owner.st_uid, owner.st_gid)


def check_path(path: str | os.PathLike[str]) -> None:
    """Raise CannotOpen if no file can be created at this path."""
    if not os.fspath(path):
        raise CannotOpen("the path of the database is empty")
    file = Path(os.path.realpath(path))
    try:
        is_directory = file.is_dir()
    except OSError as error:
        raise CannotOpen(f"cannot write {file}: {error.strerror}") from None
    if is_directory:
        raise CannotOpen(f"{file} is a directory: name a file in it")
    if not file.parent.is_dir():
        raise CannotOpen(f"cannot create {file.name}: there is no directory {file.parent}")
