"""Opening a file, with the tables of Rosey v0.5.0."""

import os
import sqlite3
from contextlib import closing, suppress
from importlib.resources import files
from typing import Final

from rosey_dbsvc.storage import connect as sqlite_connect

SCHEMA: Final = files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")

LATE_COLUMNS: Final = (
    ("channel_stats", "max_connected", "INTEGER DEFAULT 0"),
    ("channel_stats", "max_connected_timestamp", "INTEGER"),
    ("outbound_messages", "retry_count", "INTEGER DEFAULT 0"),
    ("outbound_messages", "last_error", "TEXT"),
)
"""Columns that files of older bots may lack: table, column, declaration."""


def connect(path: str) -> sqlite3.Connection:
    """Open the file for writing; create it if missing, readable by its owner only."""
    if path != ":memory:":
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    conn = sqlite3.connect(path, check_same_thread=False)
    conn.row_factory = sqlite3.Row
    return conn


def connect_reader(path: str) -> sqlite3.Connection:
    """Open an existing file read-only."""
    conn = sqlite_connect.connect(path, "ro")
    conn.row_factory = sqlite3.Row
    return conn


def prepare(conn: sqlite3.Connection) -> None:
    """Create missing tables, columns and the rows that always exist."""
    # In WAL mode readers do not wait for the writer. FULL flushes each commit to disk.
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute("PRAGMA synchronous = FULL")
    with conn:
        conn.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA.split(";"):
            conn.execute(statement)
        for table, column, declaration in LATE_COLUMNS:
            _add_column(conn, table, column, declaration)
        for table in ("channel_stats", "current_status"):
            _seed(conn, table)


def _add_column(conn: sqlite3.Connection, table: str, column: str, declaration: str) -> None:
    with closing(conn.execute("SELECT name FROM pragma_table_info(?)", (table,))) as columns:
        present = {name for (name,) in columns}
    if column not in present:
        conn.execute(f"ALTER TABLE {table} ADD COLUMN {column} {declaration}")


def _seed(conn: sqlite3.Connection, table: str) -> None:
    # Not "now": the same events must give the same file on another machine.
    conn.execute(f"INSERT OR IGNORE INTO {table} (id, last_updated) VALUES (1, 0)")  # noqa: S608
