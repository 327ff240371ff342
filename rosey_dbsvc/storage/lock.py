"""One writer per database file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rosey_dbsvc.errors import CannotOpen, DatabaseInUse


@contextmanager
def one_writer(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other services from writing this file, also from under another of its names.

    The operating system lets go of the lock when the process dies; the file `<path>.lock` stays,
    and has the number of the process. Raises DatabaseInUse or CannotOpen.
    """
    file = Path(os.path.realpath(path))
    held = file.with_name(f"{file.name}.lock")
    # Of the service, not of a thread: it is released in whichever thread closes the database.
    lock = FileLock(held, blocking=False, thread_local=False)
    try:
        check_file(path)
        lock.acquire()
        held.write_text(f"{os.getpid()}\n")
        _give_to_owner(held, file)
    except Timeout:
        if not held.exists():
            raise CannotOpen(f"cannot write {held}") from None
        pid = held.read_text().strip() or "not known"
        raise DatabaseInUse(
            f"another service writes {path}: stop it first, its process id is {pid}"
        ) from None
    except OSError as error:
        raise CannotOpen(f"cannot write {held}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


def _give_to_owner(held: Path, file: Path) -> None:
    # As SQLite does with its own files: what root has made, the next service may not be able to.
    if os.name != "nt" and os.geteuid() == 0 and file.exists():
        owner = file.stat()
        os.chown(held, owner.st_uid, owner.st_gid)


def check_file(path: str | os.PathLike[str]) -> None:
    """Raise CannotOpen if no file of this name can be made."""
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
        raise CannotOpen(f"cannot make {file.name}: there is no directory {file.parent}")
