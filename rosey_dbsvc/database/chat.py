"""What was said."""

from typing import Any, Final

from rosey_dbsvc.database.base import Base

KEPT: Final = 150 * 3600
"""How long a line stays recent, in seconds."""

COUNT_LINE = """
UPDATE user_stats SET total_chat_lines = total_chat_lines + 1, last_seen = ? WHERE username = ?
"""
REMEMBER = "INSERT INTO recent_chat (timestamp, username, message) VALUES (?, ?, ?)"
FORGET = "DELETE FROM recent_chat WHERE timestamp < ?"


class Chat(Base):
    """The table `recent_chat`, and the lines counted in `user_stats`."""

    def user_chat_message(self, username: str, message: str | None = None) -> None:
        """Count a line for a user who is known; remember what was said, unless by the server."""
        now = self._now()
        with self.conn:
            self.conn.execute(COUNT_LINE, (now, username))
            if message and username.lower() != "server":
                self.conn.execute(REMEMBER, (now, username, message))
                self.conn.execute(FORGET, (now - KEPT,))

    def get_recent_chat(self, limit: int = 20) -> list[dict[str, Any]]:
        """Return the last lines, oldest first, as timestamp, username and message."""
        # By id: within one second the timestamp does not tell which came first.
        rows = self._rows(
            "SELECT timestamp, username, message FROM recent_chat ORDER BY id DESC LIMIT ?", limit
        )
        return rows[::-1]

    def get_recent_chat_since(self, minutes: int = 20, limit: int = 1000) -> list[dict[str, Any]]:
        """Return the lines of the last minutes, at most `limit` of them, oldest first."""
        return self._rows(
            "SELECT timestamp, username, message FROM recent_chat WHERE timestamp >= ?"
            " ORDER BY timestamp, id LIMIT ?",
            self._now() - minutes * 60,
            limit,
        )
