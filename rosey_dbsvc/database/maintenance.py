"""What may go, goes."""

import logging
import sqlite3
from typing import Final

from rosey_dbsvc.database.base import Base

logger = logging.getLogger(__name__)

DAY: Final = 86400

RETENTION: Final = (
    ("history records", 30, "DELETE FROM user_count_history WHERE timestamp < ?"),
    (
        "outbound messages",
        7,
        "DELETE FROM outbound_messages WHERE sent = 1 AND sent_timestamp < ?",
    ),
    ("revoked tokens", 90, "DELETE FROM api_tokens WHERE revoked = 1 AND created_at < ?"),
)
"""What is deleted, after how many days, and how."""


class Maintenance(Base):
    """Retention, and the upkeep of the file."""

    def perform_maintenance(self) -> list[str]:
        """Delete what is old and tidy up the file; return what was done, a line each."""
        try:
            done = self._delete_old()
            for upkeep in ("VACUUM", "ANALYZE"):
                self.conn.execute(upkeep)
                done.append(f"{upkeep} completed")
        except sqlite3.Error as error:
            logger.error("Database maintenance error: %s", error)  # noqa: TRY400  one line
            self.conn.rollback()
            raise
        logger.info("Database maintenance completed: %s", ", ".join(done))
        return done

    def _delete_old(self) -> list[str]:
        now = self._now()
        with self.conn:
            deleted = [
                (self.conn.execute(sql, (now - days * DAY,)).rowcount, what)
                for what, days, sql in RETENTION
            ]
        return [f"Cleaned {count} old {what}" for count, what in deleted if count]
