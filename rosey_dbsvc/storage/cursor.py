"""How far a database has come in a stream. The database itself keeps it, if it can."""

import os
import sqlite3
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from rosey_dbsvc.errors import CannotOpen

MAKE: Final = """
CREATE TABLE IF NOT EXISTS rosey_dbsvc_cursor (
    stream TEXT PRIMARY KEY, created TEXT NOT NULL, sequence INTEGER NOT NULL,
    stored_at INTEGER NOT NULL
)
"""
HAS_TABLE: Final = "SELECT 1 FROM sqlite_master WHERE name = 'rosey_dbsvc_cursor'"
TABLES: Final = """
SELECT name FROM sqlite_master
WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'rosey_dbsvc_%'
"""
FOLLOWED: Final = "SELECT stream FROM rosey_dbsvc_cursor LIMIT 1"
READ: Final = "SELECT created, sequence, stored_at FROM rosey_dbsvc_cursor WHERE stream = ?"
WRITE: Final = """
INSERT INTO rosey_dbsvc_cursor VALUES (:stream, :created, :sequence, :stored_at)
ON CONFLICT (stream) DO UPDATE SET
    created = :created, sequence = :sequence, stored_at = :stored_at
"""


class Position(Struct, frozen=True, gc=False):
    """A place in a stream: its sequence, and when the stream stored what is there."""

    sequence: int
    stored_at: int
    """In nanoseconds of Unix time."""


class Kept(Struct):
    """What a file has of a cursor."""

    created: str
    position: Position


BEGINNING: Final = Position(0, 0)


class Cursor(ABC):
    """The position in one stream. It moves on the writer's side, in its thread."""

    exact: bool
    """Whether it is committed together with the events that it has passed."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.created = ""
        """When the stream was made: another of the same name is another stream. Empty: none yet."""
        self.position = BEGINNING
        self.of_others = False
        """Whether the database has a history that did not come from this stream."""

    def begin(self, created: str) -> None:
        """Be at the beginning of the stream that was made then."""
        self.created, self.position = created, BEGINNING

    def move(self, position: Position) -> None:
        """Write the position down, as the events before it are. Raises OSError or sqlite3.Error."""
        self._write(position)
        self.position = position

    @abstractmethod
    def _write(self, position: Position) -> None: ...


class TableCursor(Cursor):
    """A row in the database, written in the transaction of the events that it has passed."""

    exact = True

    def __init__(self, conn: sqlite3.Connection, stream: str) -> None:
        super().__init__(stream)
        self._conn = conn
        with closing(conn.cursor()) as cursor:
            cursor.row_factory = None  # the connection's may make anything of a row
            cursor.execute(MAKE)
            if row := cursor.execute(READ, (stream,)).fetchone():
                self.created, self.position = row[0], Position(*row[1:])
        self.of_others = is_of_others(conn, stream)
        conn.commit()

    def _write(self, position: Position) -> None:
        identity = {"stream": self.stream, "created": self.created}
        self._conn.execute(WRITE, identity | asdict(position))


def stream_of(conn: sqlite3.Connection) -> str:
    """Return the stream that the database follows, empty if none."""
    with closing(conn.cursor()) as cursor:
        cursor.row_factory = None
        if cursor.execute(HAS_TABLE).fetchone():
            return str((cursor.execute(FOLLOWED).fetchone() or [""])[0])
    return ""


def is_of_others(conn: sqlite3.Connection, stream: str) -> bool:
    """Return whether the database has a history, and no place in this stream."""
    with closing(conn.cursor()) as cursor:
        cursor.row_factory = None
        if cursor.execute(HAS_TABLE).fetchone() and cursor.execute(READ, (stream,)).fetchone():
            return False
        tables = [name.replace('"', '""') for (name,) in cursor.execute(TABLES)]
        # Tables of a single row are there from the beginning.
        second = 'SELECT 1 FROM "{}" LIMIT 1 OFFSET 1'
        return any(cursor.execute(second.format(name)).fetchone() for name in tables)


class FileCursor(Cursor):
    """A file beside a database that keeps none: it follows the events a moment later."""

    exact = False

    def __init__(self, path: str, stream: str) -> None:
        """Raise CannotOpen if the file is there and is not a cursor."""
        super().__init__(stream)
        self._path = Path(path)
        self._kept = kept_in(path)
        if stream in self._kept:
            self.created, self.position = self._kept[stream].created, self._kept[stream].position

    def _write(self, position: Position) -> None:
        self._kept[self.stream] = Kept(self.created, position)
        fresh = self._path.with_name(f"{self._path.name}.new")
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(self._kept))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)


def kept_in(path: str) -> dict[str, Kept]:
    """Return the cursors in a file, by stream. Raises CannotOpen if it is there and has none."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=dict[str, Kept])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CannotOpen(f"{path} is not a cursor that can be read: {error}") from None
