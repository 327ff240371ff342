"""Base of storages over a SQLite connection: cursor, clock and busy time-out."""

import sqlite3
import time
from typing import Final

from rosey_dbsvc.errors import NotAdoptable
from rosey_dbsvc.storage import connect
from rosey_dbsvc.storage.cursor import Cursor, Position, followed_stream

BUSY_TIMEOUT: Final = 250
"""Time that SQLite waits for a lock, in ms. It is short, because the writer retries."""


class BaseStorage:
    """A database that may have a SQLite connection."""

    def __init__(self, database: object, conn: sqlite3.Connection | None) -> None:
        self.file = connect.file_of(conn) if conn else ""
        self.name = self.file or type(database).__name__
        self.cursor: Cursor | None = None
        self._conn = conn
        self._at: float | None = None
        self._busy_timeout = connect.busy_timeout(conn) if conn else 0
        self._set_busy_timeout(BUSY_TIMEOUT)

    def _clock(self) -> float:
        """Return the time of the current event, or the time."""
        return time.time() if self._at is None else self._at

    @property
    def followed_stream(self) -> str:
        """Name of the stream that the database has a cursor for, empty if none."""
        return followed_stream(self._conn) if self._conn else ""

    def follow(self, stream: str) -> None:
        """Open the cursor for a stream. Raises NotAdoptable without `conn`, or sqlite3.Error."""
        if self._conn is None:
            raise NotAdoptable(
                f"{self.name} has no SQLite connection in `conn`: durable mode keeps its cursor "
                "there"
            )
        self.cursor = Cursor(self._conn, stream)

    def _move_cursor(self, position: Position | None) -> None:
        """Write the position, to be committed with the events before it."""
        if self.cursor is not None and position is not None:
            self.cursor.move(position)

    def _set_position(self, position: Position | None) -> None:
        """Set the position after its commit."""
        if self.cursor is not None and position is not None:
            self.cursor.position = position

    def release(self, busy_timeout: int | None = None) -> None:
        """Set this busy time-out, in ms, or the one that the connection had."""
        self._set_busy_timeout(self._busy_timeout if busy_timeout is None else busy_timeout)

    def _set_busy_timeout(self, milliseconds: int) -> None:
        if self._conn is not None:
            self._conn.execute(f"PRAGMA busy_timeout = {milliseconds}")
