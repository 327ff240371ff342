"""User counts, high water marks, and the status of the bot."""

import logging
from typing import Any, Final

from rosey_dbsvc.operations import channel as operations
from rosey_dbsvc.storage.sqlite.base import Base, Handlers

logger = logging.getLogger(__name__)

STATUS_COLUMNS: Final = tuple(operations.StatusData.__annotations__)

CHAT_MARK = """
UPDATE channel_stats SET max_users = :count, max_users_timestamp = :now, last_updated = :now
WHERE id = 1 AND max_users < :count
"""
CONNECTED_MARK = """
UPDATE channel_stats SET
    max_connected = :count, max_connected_timestamp = :now, last_updated = :now
WHERE id = 1 AND max_connected < :count
"""


class Channel(Base):
    """The tables `channel_stats`, `user_count_history` and `current_status`."""

    def update_high_water_mark(
        self, current_user_count: int, current_connected_count: int | None = None
    ) -> None:
        """Raise the marks that are exceeded."""
        with self.atomic():
            if self._raise_mark(CHAT_MARK, current_user_count):
                logger.info("New high water mark (chat): %d users", current_user_count)
            if current_connected_count is not None and self._raise_mark(
                CONNECTED_MARK, current_connected_count
            ):
                logger.info("New high water mark (connected): %d viewers", current_connected_count)

    def _raise_mark(self, sql: str, count: int) -> bool:
        return self.conn.execute(sql, {"count": count, "now": self._now()}).rowcount > 0

    def get_high_water_mark(self) -> tuple[int, int | None]:
        """Return the maximum of chat users and its time; (0, None) before the first."""
        return self._mark("SELECT max_users, max_users_timestamp FROM channel_stats")

    def get_high_water_mark_connected(self) -> tuple[int, int | None]:
        """Return the maximum of connected users and its time; (0, None) before the first."""
        return self._mark("SELECT max_connected, max_connected_timestamp FROM channel_stats")

    def _mark(self, sql: str) -> tuple[int, int | None]:
        row = self.conn.execute(sql).fetchone()
        return (row[0] or 0, row[1]) if row else (0, None)

    def log_user_count(self, chat_users: int, connected_users: int) -> None:
        """Append to the history of user counts."""
        with self.atomic():
            self.conn.execute(
                "INSERT INTO user_count_history (timestamp, chat_users, connected_users)"
                " VALUES (?, ?, ?)",
                (self._now(), chat_users, connected_users),
            )

    def get_user_count_history(self, hours: int = 24) -> list[dict[str, Any]]:
        """Return the counts of the last hours, oldest first."""
        return self._rows(
            "SELECT timestamp, chat_users, connected_users FROM user_count_history"
            " WHERE timestamp >= ? ORDER BY timestamp, id",
            self._now() - hours * 3600,
        )

    def cleanup_old_history(self, days: int = 30) -> int:
        """Delete counts older than this number of days; return how many."""
        with self.atomic():
            deleted = self.conn.execute(
                "DELETE FROM user_count_history WHERE timestamp < ?",
                (self._now() - days * 86400,),
            ).rowcount
        if deleted:
            logger.info("Cleaned up %d old history records", deleted)
        return deleted

    def update_current_status(self, **fields: Any) -> None:  # noqa: ANN401  as in v0.5.0
        """Set the fields that are columns of `current_status`; ignore others."""
        known = {column: fields[column] for column in STATUS_COLUMNS if column in fields}
        if not known:
            return
        assignments = ", ".join(f"{column} = :{column}" for column in known)
        with self.atomic():
            self.conn.execute(
                f"UPDATE current_status SET {assignments}, last_updated = :now WHERE id = 1",  # noqa: S608  the columns are ours
                {**known, "now": self._now()},
            )

    def get_current_status(self) -> dict[str, Any] | None:
        """Return the status of the bot, None if there is none."""
        return self._row("SELECT * FROM current_status WHERE id = 1")


def _update_status(database: Channel, event: operations.StatusUpdate) -> None:
    if event.status_data:
        database.update_current_status(**event.status_data)


HANDLERS: Final[Handlers] = {
    operations.StatsUserCount: lambda database, event: database.log_user_count(
        event.chat_count, event.connected_count
    ),
    operations.StatsHighWater: lambda database, event: database.update_high_water_mark(
        event.chat_count, event.connected_count
    ),
    operations.StatusUpdate: _update_status,
}
