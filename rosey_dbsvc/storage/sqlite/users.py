"""Users, their sessions and their actions."""

from typing import Any, Final

from rosey_dbsvc.operations.users import UserJoined, UserLeft
from rosey_dbsvc.storage.sqlite.base import Base, Handlers

JOINED = """
INSERT INTO user_stats (username, first_seen, last_seen, current_session_start)
VALUES (:username, :now, :now, :now)
ON CONFLICT (username) DO UPDATE SET last_seen = :now, current_session_start = :now
"""

# The total must not shrink if the clock was set back.
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
        """Start a session for the user, known or new."""
        with self.atomic():
            self.conn.execute(JOINED, {"username": username, "now": self._now()})

    def user_left(self, username: str) -> None:
        """End the user's session, if there is one, and add its length to the total."""
        with self.atomic():
            self.conn.execute(LEFT, {"username": username, "now": self._now()})

    def log_user_action(self, username: str, action_type: str, details: str | None = None) -> None:
        """Store an action of the user."""
        with self.atomic():
            self.conn.execute(
                "INSERT INTO user_actions (timestamp, username, action_type, details)"
                " VALUES (?, ?, ?, ?)",
                (self._now(), username, action_type, details),
            )

    def get_user_stats(self, username: str) -> dict[str, Any] | None:
        """Return the user's row, None if unknown."""
        return self._row("SELECT * FROM user_stats WHERE username = ?", username)

    def get_top_chatters(self, limit: int = 10) -> list[tuple[str, int]]:
        """Return (username, chat lines) of the users with the most, most first."""
        rows = self.conn.execute(
            "SELECT username, total_chat_lines FROM user_stats WHERE total_chat_lines > 0"
            " ORDER BY total_chat_lines DESC, username LIMIT ?",
            (limit,),
        )
        return [(username, lines) for username, lines in rows]

    def get_total_users_seen(self) -> int:
        """Return the number of known users."""
        return int(self.conn.execute("SELECT count(*) FROM user_stats").fetchone()[0])

    def _end_sessions(self) -> None:
        with self.atomic():
            self.conn.execute(LEAVE, {"now": self._now()})


HANDLERS: Final[Handlers] = {
    UserJoined: lambda database, event: database.user_joined(event.username),
    UserLeft: lambda database, event: database.user_left(event.username),
}
