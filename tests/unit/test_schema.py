"""Files that were there before."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.databases import select

from rosey_dbsvc import BotDatabase

# The tables of Rosey v0.5.0 as CONTRACT.md lists them; {late} stands where older files end.
V0_5_0 = """
CREATE TABLE user_stats (username TEXT PRIMARY KEY, first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL, total_chat_lines INTEGER DEFAULT 0,
    total_time_connected INTEGER DEFAULT 0, current_session_start INTEGER);
CREATE TABLE user_actions (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp INTEGER NOT NULL,
    username TEXT NOT NULL, action_type TEXT NOT NULL, details TEXT);
CREATE TABLE channel_stats (id INTEGER PRIMARY KEY CHECK (id = 1), max_users INTEGER DEFAULT 0,
    max_users_timestamp INTEGER{late_marks}, last_updated INTEGER);
CREATE TABLE user_count_history (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp INTEGER NOT NULL,
    chat_users INTEGER NOT NULL, connected_users INTEGER NOT NULL);
CREATE INDEX idx_user_count_timestamp ON user_count_history(timestamp);
CREATE TABLE recent_chat (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp INTEGER NOT NULL,
    username TEXT NOT NULL, message TEXT NOT NULL);
CREATE INDEX idx_recent_chat_timestamp ON recent_chat(timestamp DESC);
CREATE TABLE current_status (id INTEGER PRIMARY KEY CHECK (id = 1), bot_name TEXT, bot_rank REAL,
    bot_afk INTEGER DEFAULT 0, channel_name TEXT, current_chat_users INTEGER DEFAULT 0,
    current_connected_users INTEGER DEFAULT 0, playlist_items INTEGER DEFAULT 0,
    current_media_title TEXT, current_media_duration INTEGER, bot_start_time INTEGER,
    bot_connected INTEGER DEFAULT 0, last_updated INTEGER);
CREATE TABLE outbound_messages (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp INTEGER NOT NULL,
    message TEXT NOT NULL, sent INTEGER DEFAULT 0, sent_timestamp INTEGER{late_retries});
CREATE INDEX idx_outbound_sent ON outbound_messages(sent, timestamp);
CREATE TABLE api_tokens (token TEXT PRIMARY KEY, description TEXT, created_at INTEGER NOT NULL,
    last_used INTEGER, revoked INTEGER DEFAULT 0);
CREATE INDEX idx_api_tokens_revoked ON api_tokens(revoked, token);
INSERT INTO channel_stats (id, max_users, last_updated) VALUES (1, 42, 1600000000);
INSERT INTO current_status (id, bot_name) VALUES (1, 'Rosey');
INSERT INTO user_stats VALUES ('alice', 1, 2, 3, 4, NULL);
INSERT INTO recent_chat (timestamp, username, message) VALUES (1600000000, 'alice', 'hello');
INSERT INTO outbound_messages (timestamp, message) VALUES (1600000000, 'queued');
"""
LATE_MARKS = ", max_connected INTEGER DEFAULT 0, max_connected_timestamp INTEGER"
LATE_RETRIES = ", retry_count INTEGER DEFAULT 0, last_error TEXT"

CURRENT = V0_5_0.format(late_marks=LATE_MARKS, late_retries=LATE_RETRIES)
OLDER = V0_5_0.format(late_marks="", late_retries="")


def make(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(script)


def columns(path: Path) -> dict[str, set[tuple[Any, ...]]]:
    """Return of each table the name, type, NOT NULL, default and key of its columns."""
    tables = select(path, "SELECT name FROM sqlite_schema WHERE type = 'table'")
    sql = 'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(?)'
    return {table: set(select(path, sql, table)) for (table,) in tables}


def indexes(path: Path) -> set[tuple[Any, ...]]:
    return set(
        select(
            path,
            "SELECT schema.tbl_name, schema.name, info.seqno, info.name, info.desc"
            " FROM sqlite_schema AS schema, pragma_index_xinfo(schema.name) AS info"
            " WHERE schema.type = 'index' AND info.key",
        )
    )


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as conn:
        return list(conn.iterdump())


def test_an_existing_file_is_opened_unchanged(path: Path) -> None:
    make(path, CURRENT)
    before = dump(path)
    BotDatabase(path).close()
    assert dump(path) == before


def test_a_new_file_has_the_tables_and_indexes_of_v0_5_0(path: Path, tmp_path: Path) -> None:
    make(reference := tmp_path / "reference.db", CURRENT)
    BotDatabase(path).close()
    assert columns(path) == columns(reference)
    assert indexes(path) == indexes(reference)
    assert select(path, "SELECT id, max_users FROM channel_stats") == [(1, 0)]
    assert select(path, "SELECT id, bot_connected FROM current_status") == [(1, 0)]


def test_an_older_file_gets_the_late_columns_and_keeps_its_rows(path: Path, tmp_path: Path) -> None:
    make(path, OLDER)
    make(reference := tmp_path / "reference.db", CURRENT)
    with closing(BotDatabase(path)) as database:
        assert database.get_high_water_mark() == (42, None)
        assert database.get_high_water_mark_connected() == (0, None)
        (queued,) = database.get_unsent_outbound_messages()
        assert (queued["message"], queued["retry_count"]) == ("queued", 0)
        database.update_high_water_mark(43, 44)
    assert columns(path) == columns(reference)
    assert select(path, "SELECT max_users, max_connected FROM channel_stats") == [(43, 44)]


def test_a_file_is_whole_when_it_is_closed(path: Path) -> None:
    with closing(BotDatabase(path)) as database:
        database.user_joined("alice")
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert select(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_new_file_is_readable_by_its_owner_only(path: Path) -> None:
    BotDatabase(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"x" * 5000])
def test_what_is_no_database_is_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(sqlite3.DatabaseError):
        BotDatabase(path)
    assert path.read_bytes() == content


def test_a_new_file_has_nothing_of_the_time_that_it_was_made(path: Path) -> None:
    BotDatabase(path).close()
    assert select(path, "SELECT last_updated FROM channel_stats") == [(0,)]
    assert select(path, "SELECT last_updated FROM current_status") == [(0,)]
