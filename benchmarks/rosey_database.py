"""A BotDatabase like that of Rosey v0.5.0: each method runs statements and commits.

It imitates the behavior of that class. Like the original, it uses the rollback journal of SQLite.
Each commit is flushed to disk, like all others that are measured here.
"""

import sqlite3
import time
from typing import Any

from rosey_dbsvc.storage.sqlite import BotDatabase

RETENTION = 150 * 3600
"""Time that a message is kept, in seconds."""


class RoseyDatabase:
    """The methods that the benchmarks, or the adoption by the service, need."""

    def __init__(self, path: str) -> None:
        BotDatabase(path).close()  # the same tables
        self.conn = sqlite3.connect(path, check_same_thread=False)
        self.conn.row_factory = sqlite3.Row
        self.conn.execute("PRAGMA journal_mode = DELETE")

    def user_joined(self, username: str) -> None:
        now = int(time.time())
        cursor = self.conn.cursor()
        cursor.execute("SELECT username FROM user_stats WHERE username = ?", (username,))
        if cursor.fetchone():
            cursor.execute(
                "UPDATE user_stats SET last_seen = ?, current_session_start = ? WHERE username = ?",
                (now, now, username),
            )
        else:
            cursor.execute(
                "INSERT INTO user_stats (username, first_seen, last_seen, current_session_start)"
                " VALUES (?, ?, ?, ?)",
                (username, now, now, now),
            )
        self.conn.commit()

    def user_left(self, username: str) -> None:
        self.conn.commit()

    def user_chat_message(self, username: str, message: str | None = None) -> None:
        now = int(time.time())
        cursor = self.conn.cursor()
        cursor.execute(
            "UPDATE user_stats SET total_chat_lines = total_chat_lines + 1, last_seen = ?"
            " WHERE username = ?",
            (now, username),
        )
        if message and username.lower() != "server":
            cursor.execute(
                "INSERT INTO recent_chat (timestamp, username, message) VALUES (?, ?, ?)",
                (now, username, message),
            )
            cursor.execute("DELETE FROM recent_chat WHERE timestamp < ?", (now - RETENTION,))
        self.conn.commit()

    def log_user_count(self, chat_users: int, connected_users: int) -> None:
        self.conn.commit()

    def update_high_water_mark(self, chat: int, connected: int | None = None) -> None:
        self.conn.commit()

    def update_current_status(self, **status: Any) -> None:
        self.conn.commit()

    def mark_outbound_sent(self, outbound_id: int) -> None:
        self.conn.commit()

    def get_unsent_outbound_messages(self, limit: int = 50, max_retries: int = 3) -> list[Any]:
        return []

    def get_recent_chat(self, limit: int = 20) -> list[Any]:
        cursor = self.conn.cursor()
        cursor.execute(
            "SELECT timestamp, username, message FROM recent_chat ORDER BY timestamp DESC LIMIT ?",
            (limit,),
        )
        return [dict(row) for row in reversed(cursor.fetchall())]

    def close(self) -> None:
        self.conn.close()
