"""BotDatabase, a drop-in for the class of that name in Rosey v0.5.0."""

import logging
import os
import sqlite3
from typing import Final

from rosey_dbsvc.storage.sqlite import schema
from rosey_dbsvc.storage.sqlite.channel import Channel
from rosey_dbsvc.storage.sqlite.chat import Chat
from rosey_dbsvc.storage.sqlite.outbound import Outbound
from rosey_dbsvc.storage.sqlite.retention import Maintenance
from rosey_dbsvc.storage.sqlite.tokens import Tokens
from rosey_dbsvc.storage.sqlite.users import Users

MIN_SQLITE: Final = (3, 33)  # first version with UPDATE … FROM

logger = logging.getLogger(__name__)


class BotDatabase(Users, Chat, Channel, Outbound, Tokens, Maintenance):
    """The database of a bot in one SQLite file. Timestamps are Unix seconds.

    It may be used from any thread, by one at a time. Every method may raise sqlite3.Error. Do not
    open the file of a running service: `close` ends the sessions of all users.
    """

    def __init__(self, db_path: str | os.PathLike[str] = "bot_data.db") -> None:
        """Open the file, which may be of Rosey v0.5.0 or older, or create it."""
        if sqlite3.sqlite_version_info < MIN_SQLITE:
            raise sqlite3.NotSupportedError("SQLite 3.33 or newer is needed")
        self.db_path = os.fspath(db_path)
        super().__init__(schema.connect(self.db_path))
        try:
            schema.prepare(self.conn)
        except BaseException:
            self.conn.close()
            raise
        self._open = True
        logger.info("Connected to database: %s", self.db_path)
        logger.info("Database tables initialized")

    @property
    def in_memory(self) -> bool:
        """Whether there is no file, and so no second connection."""
        return self.db_path == ":memory:"

    def reader(self) -> "Reader":
        """Return a second connection, for reading beside a transaction of this one."""
        return Reader(self.db_path)

    def close(self) -> None:
        """End all sessions and close the connection. May be called twice."""
        if not self._open:
            return
        self._open = False
        try:
            self._end_sessions()
        finally:
            self.conn.close()
            logger.info("Database connection closed")


class Reader(Users, Chat, Channel, Outbound, Tokens):
    """The queries of a BotDatabase, on a read-only connection."""

    def __init__(self, path: str) -> None:
        super().__init__(schema.connect_reader(path))

    def close(self) -> None:
        """Close the connection."""
        self.conn.close()
