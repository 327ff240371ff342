"""From the path of a file, or somebody's BotDatabase, to a storage; and back."""

import logging
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from rosey_dbsvc.errors import CannotOpen, DbsvcError, InvalidSettings, NotADatabase
from rosey_dbsvc.settings import Durable
from rosey_dbsvc.storage import sqlite_errors as faults
from rosey_dbsvc.storage.cursor import kept_in
from rosey_dbsvc.storage.lock import one_writer
from rosey_dbsvc.storage.sqlite import BotDatabase
from rosey_dbsvc.storage.storage import Storage, adopt

logger = logging.getLogger(__name__)

Factory = Callable[[str], Any]
"""Makes a database from the path of its file."""

IN_MEMORY: Final = ":memory:"
CLOSING_BUSY_TIMEOUT: Final = 1000
"""How long the last change, the end of the sessions, waits for a lock, in ms."""


@contextmanager
def opened(database: object, factory: Factory, durable: Durable | None = None) -> Iterator[Storage]:
    """Open the database at a path with the factory, or adopt the object that is given instead.

    Who opened a database closes it: an object that is given stays open. A durable one keeps a
    cursor, and the sessions of its users. To be entered and left in threads, not on an event loop.
    Raises CannotOpen, DatabaseInUse, NotADatabase or NotAdoptable.
    """
    with ExitStack() as stack:
        if isinstance(database, str | os.PathLike):
            path = os.fspath(database)
            if path != IN_MEMORY:
                stack.enter_context(one_writer(path))
            database = _make(factory, path)
            stack.callback(_close, database, keep_sessions=durable is not None)
            storage = adopt(database)
            stack.callback(storage.release, CLOSING_BUSY_TIMEOUT)
        else:
            path = IN_MEMORY
            storage = adopt(database)
            stack.callback(storage.release)
        if storage.file and os.path.realpath(path) != storage.file:
            stack.enter_context(one_writer(storage.file))
        _follow(storage, durable, path)
        yield storage


def _follow(storage: Storage, durable: Durable | None, path: str) -> None:
    beside = "" if path == IN_MEMORY else f"{path}.cursor"
    if durable is None:
        _check_free(storage, beside)
        return
    try:
        storage.follow(durable.stream, durable.cursor_file or beside)
    except sqlite3.Error as error:
        raise explain(error, storage.name) from error


def _check_free(storage: Storage, beside: str) -> None:
    # What core NATS brought, the stream has as well: it would be applied twice.
    if stream := storage.followed:
        raise CannotOpen(
            f"{storage.name} follows the stream {stream}: run it with --durable, or give that up "
            f"for good with sqlite3 {storage.name} 'DROP TABLE rosey_dbsvc_cursor'"
        )
    if beside and (kept := kept_in(beside)):
        raise CannotOpen(
            f"{storage.name} follows the stream {min(kept)}: run it with --durable, or give that "
            f"up for good and remove {beside}"
        )


def open_existing(path: str, timeout: float = 5.0) -> sqlite3.Connection:
    """Open a database that is there, perhaps beside its service, for all threads.

    `timeout` is how long each statement waits for others, in seconds. Raises CannotOpen or
    NotADatabase.
    """
    try:
        if not Path(path).exists():
            raise CannotOpen(f"there is no database {path}")
        uri = f"{Path(path).absolute().as_uri()}?mode=rw"
        conn = sqlite3.connect(uri, uri=True, timeout=timeout, check_same_thread=False)
        try:
            conn.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.Error:
            conn.close()
            raise
    except (OSError, sqlite3.Error) as error:
        raise explain(error, path) from error
    return conn


def load_factory(name: str) -> Factory:
    """Return the callable called MODULE:ATTRIBUTE, also of a module in the current directory.

    Of no name it is the BotDatabase of this package. Raises InvalidSettings.
    """
    if not name:
        return BotDatabase
    module, _, attribute = name.partition(":")
    if not (module and attribute):
        raise InvalidSettings("--database takes MODULE:ATTRIBUTE, like common.database:BotDatabase")
    sys.path.insert(0, str(Path.cwd()))
    try:
        factory = attrgetter(attribute)(import_module(module))
    except (Exception, SystemExit) as error:
        raise InvalidSettings(f"cannot import {name}: {faults.describe(error)}") from error
    if not callable(factory):
        raise InvalidSettings(f"{name} cannot be called with the path of a file")
    return factory  # type: ignore[no-any-return]


def _make(factory: Factory, path: str) -> object:
    try:
        return factory(path)
    except DbsvcError:
        raise
    except Exception as error:
        raise explain(error, path) from error


def explain(error: Exception, path: str) -> DbsvcError:
    """Return what an exception while a database is opened means to a person."""
    if faults.is_fatal(error):
        return NotADatabase(f"{path} is not a database that can be read: {error}")
    if isinstance(error, OSError):
        return CannotOpen(f"cannot open {path}: {error.strerror}")
    if isinstance(error, sqlite3.Error):
        return CannotOpen(f"cannot open {path}: {error}{_hint(error, path)}")
    return CannotOpen(f"cannot open {path}: {faults.describe(error)}")


def _hint(error: sqlite3.Error, path: str) -> str:
    if "locked" in str(error):
        return ": another program holds it"
    if os.path.exists(path) and not os.access(path, os.R_OK | os.W_OK):  # noqa: PTH110
        return ": permission denied"
    return ""


def _close(database: Any, *, keep_sessions: bool) -> None:  # noqa: ANN401
    # Rosey's own `close` ends every session: it takes the end of the program for that of the visit.
    closing = getattr(database, "conn", database) if keep_sessions else database
    try:
        if hasattr(closing, "close"):
            closing.close()
        if closing is not database:
            logger.info("Database connection closed")
    except Exception as error:  # noqa: BLE001  what is committed is safe, and there is no going back
        logger.error("closing the database failed: %s", faults.describe(error))  # noqa: TRY400
