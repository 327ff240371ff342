"""The position in a stream that a database has reached, kept in the database itself."""

import sqlite3
from typing import Final

from msgspec import Struct

from rosey_dbsvc.storage.connect import plain_rows

CREATE_TABLE: Final = """
CREATE TABLE IF NOT EXISTS rosey_dbsvc_cursor (
    stream TEXT PRIMARY KEY, created TEXT NOT NULL, sequence INTEGER NOT NULL,
    stored_at INTEGER NOT NULL
)
"""
HAS_TABLE: Final = "SELECT 1 FROM sqlite_master WHERE name = 'rosey_dbsvc_cursor'"
BOT_TABLES: Final = """
SELECT name FROM sqlite_master
WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'rosey_dbsvc_%'
"""
STREAM: Final = "SELECT stream FROM rosey_dbsvc_cursor LIMIT 1"
READ: Final = "SELECT created, sequence, stored_at FROM rosey_dbsvc_cursor WHERE stream = ?"
# Not REPLACE, which would change the rowid: all files of a stream have equal tables.
WRITE: Final = """
INSERT INTO rosey_dbsvc_cursor VALUES (?, ?, ?, ?) ON CONFLICT (stream) DO UPDATE SET
    created = excluded.created, sequence = excluded.sequence, stored_at = excluded.stored_at
"""


class Position(Struct, frozen=True, gc=False):
    """A position in a stream."""

    sequence: int
    stored_at: int
    """Time when the stream stored the message, in nanoseconds of Unix time."""


BEGINNING: Final = Position(0, 0)


class Cursor:
    """The position in one stream: a row that is written in the transaction of the events."""

    def __init__(self, conn: sqlite3.Connection, stream: str) -> None:
        self.stream = stream
        self.created = ""
        """Creation time of the stream, to tell it from another with this name. Empty: none yet."""
        self.position = BEGINNING
        self._conn = conn
        conn.execute(CREATE_TABLE)
        for created, *position in plain_rows(conn, READ, stream):
            self.created, self.position = created, Position(*position)
        self.has_other_history = has_other_history(conn, stream)
        """Whether the database has events that did not come from this stream."""
        conn.commit()

    def begin(self, created: str) -> None:
        """Start at the beginning of the stream created at this time."""
        self.created, self.position = created, BEGINNING

    def move(self, position: Position) -> None:
        """Write the position. The caller commits, and then sets it. Raises sqlite3.Error."""
        values = (self.stream, self.created, position.sequence, position.stored_at)
        self._conn.execute(WRITE, values)


def followed_stream(conn: sqlite3.Connection) -> str:
    """Return the name of the stream that the database has a cursor for, empty if none."""
    if plain_rows(conn, HAS_TABLE):
        for (stream,) in plain_rows(conn, STREAM):
            return str(stream)
    return ""


def has_other_history(conn: sqlite3.Connection, stream: str) -> bool:
    """Return whether the database has events, and no cursor for this stream."""
    if plain_rows(conn, HAS_TABLE) and plain_rows(conn, READ, stream):
        return False
    tables = [name.replace('"', '""') for (name,) in plain_rows(conn, BOT_TABLES)]
    # Tables with a single row have it from the beginning.
    second_row = 'SELECT 1 FROM "{}" LIMIT 1 OFFSET 1'
    return any(plain_rows(conn, second_row.format(name)) for name in tables)
