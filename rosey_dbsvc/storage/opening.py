"""From a path or a database object to a storage, and back."""

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from rosey_dbsvc._text import Logger, describe
from rosey_dbsvc.errors import CannotOpen, DbsvcError, InvalidSettings
from rosey_dbsvc.settings import Durable, Factory
from rosey_dbsvc.storage.adopted import AdoptedStorage
from rosey_dbsvc.storage.connect import check_header, opening_error
from rosey_dbsvc.storage.lock import writer_lock
from rosey_dbsvc.storage.protocol import Storage
from rosey_dbsvc.storage.sqlite import BotDatabase
from rosey_dbsvc.storage.sqlite.storage import SqliteStorage

logger = Logger(__name__)

IN_MEMORY: Final = ":memory:"
CLOSING_BUSY_TIMEOUT: Final = 1000
"""Time that the last change, the end of all sessions, waits for a lock, in ms."""


def adopt(database: object) -> Storage:
    """Return a storage over any object with the methods of a BotDatabase.

    Raises NotAdoptable or DatabaseInUse.
    """
    if type(database) is BotDatabase:  # a subclass has methods of its own to call
        return SqliteStorage(database)
    return AdoptedStorage(database)


@contextmanager
def opened(
    database: object, factory: str | Factory = "", durable: Durable | None = None
) -> Iterator[Storage]:
    """Open the database at a path with the factory, or adopt the object given in its place.

    A database opened here is closed at the end; an object stays open. In durable mode, closing ends
    no sessions. Enter and leave it in threads, not on an event loop. Raises CannotStart or
    NotADatabase.
    """
    with ExitStack() as locks, ExitStack() as stack:  # locks are released last
        path = IN_MEMORY
        if isinstance(database, str | os.PathLike):
            path = os.fspath(database)
            factory = load_factory(factory)
            if path != IN_MEMORY:
                if factory is BotDatabase:
                    check_header(path)  # before there is a lock file beside it
                locks.enter_context(writer_lock(path))
            database = _open(factory, path)
            stack.callback(_close, database, keep_sessions=durable is not None)
            storage = _adopt(database, path)
            stack.callback(storage.release, CLOSING_BUSY_TIMEOUT)
        else:
            storage = _adopt(database, type(database).__name__)
            stack.callback(storage.release)
        if storage.file and os.path.realpath(path) != storage.file:
            locks.enter_context(writer_lock(storage.file))
        _follow(storage, durable)
        yield storage


def _adopt(database: object, name: str) -> Storage:
    try:
        return adopt(database)
    except sqlite3.Error as error:
        raise opening_error(error, name) from error


def _follow(storage: Storage, durable: Durable | None) -> None:
    try:
        stream = storage.followed_stream
        if durable is not None:
            storage.follow(durable.stream)
    except sqlite3.Error as error:
        raise opening_error(error, storage.name) from error
    if durable is None and stream:  # the stream has the events of core mode, too
        raise CannotOpen(
            f"{storage.name} follows the stream {stream}: use `durable`, or leave the stream for "
            f"good with sqlite3 {storage.name} 'DROP TABLE rosey_dbsvc_cursor'"
        )


def load_factory(database: str | Factory) -> Factory:
    """Return the callable with this name, "MODULE:ATTRIBUTE", or itself; BotDatabase for "".

    The current directory is searched, too. Raises InvalidSettings.
    """
    if not isinstance(database, str):
        return database
    if not database:
        return BotDatabase
    module, _, attribute = database.partition(":")
    if not (module and attribute):
        raise InvalidSettings(
            "`database`: expected MODULE:ATTRIBUTE, like common.database:BotDatabase"
        )
    sys.path.insert(0, str(Path.cwd()))
    try:
        factory = attrgetter(attribute)(import_module(module))
    except (Exception, SystemExit) as error:
        raise InvalidSettings(f"`database`: cannot import {database}: {describe(error)}") from error
    if not callable(factory):
        raise InvalidSettings(f"`database`: {database} is not callable")
    return factory  # type: ignore[no-any-return]


def _open(factory: Factory, path: str) -> object:
    try:
        return factory(path)
    except DbsvcError:
        raise
    except Exception as error:
        raise opening_error(error, path) from error


def _close(database: Any, *, keep_sessions: bool) -> None:  # noqa: ANN401
    # `close` of a BotDatabase ends all sessions; in durable mode only the connection is closed.
    closing = getattr(database, "conn", database) if keep_sessions else database
    try:
        if hasattr(closing, "close"):
            closing.close()
        if closing is not database:
            logger.info("Database connection closed")
    except Exception as error:  # noqa: BLE001  all events are committed already
        logger.error("cannot close the database: %(reason)s", reason=describe(error))  # noqa: TRY400
