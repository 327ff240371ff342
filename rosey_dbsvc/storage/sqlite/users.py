"""Who was here, for how long, and what they did."""

from typing import Any

from rosey_dbsvc.storage.sqlite.base import Base

JOINED = """
INSERT INTO user_stats (username, first_seen, last_seen, current_session_start)
VALUES (:username, :now, :now, :now)
ON CONFLICT (username) DO UPDATE SET last_seen = :now, current_session_start = :now
"""

# A clock that was set back must not take time away.
LEAVE = """
UPDATE user_stats SET
    total_time_connected = total_time_connected + max(0, :now - current_session_start),
    last_seen = :now,
    current_session_start = NULL
WHERE current_session_start IS NOT NULL
"""

LEFT = f"{LEAVE} AND username = :username"


class Users(Base):
    """The tables `user_stats` and `user_actions`."""

    def user_joined(self, username: str) -> None:
        """Start a session now for the user, known or new."""
        with self.conn:
            self.conn.execute(JOINED, {"username": username, "now": self._now()})

    def user_left(self, username: str) -> None:
        """End the user's session now, if there is one, and add its length to the total."""
        with self.conn:
            self.conn.execute(LEFT, {"username": username, "now": self._now()})

    def log_user_action(self, username: str, action_type: str, details: str | None = None) -> None:
        """Remember that the user did something of this type."""
        with self.conn:
            self.conn.execute(
                "INSERT INTO user_actions (timestamp, username, action_type, details)"
                " VALUES (?, ?, ?, ?)",
                (self._now(), username, action_type, details),
            )

    def get_user_stats(self, username: str) -> dict[str, Any] | None:
        """Return the user's row, or None."""
        return self._row("SELECT * FROM user_stats WHERE username = ?", username)

    def get_top_chatters(self, limit: int = 10) -> list[tuple[str, int]]:
        """Return (username, lines) of those with the most lines of chat, most first."""
        rows = self.conn.execute(
            "SELECT username, total_chat_lines FROM user_stats WHERE total_chat_lines > 0"
            " ORDER BY total_chat_lines DESC, username LIMIT ?",
            (limit,),
        )
        return [(username, lines) for username, lines in rows]

    def get_total_users_seen(self) -> int:
        """Return how many users there have ever been."""
        return int(self.conn.execute("SELECT count(*) FROM user_stats").fetchone()[0])

    def _end_sessions(self) -> None:
        with self.conn:
            self.conn.execute(LEAVE, {"now": self._now()})
