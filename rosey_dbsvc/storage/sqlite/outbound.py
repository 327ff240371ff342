"""What the bot is still to say."""

import logging
from collections.abc import Iterator
from typing import Any

from rosey_dbsvc.storage.sqlite.base import Base

logger = logging.getLogger(__name__)

# 2 ** retry_count minutes after it was queued; 2 ** 40 of them are for ever.
DUE = """
SELECT id, timestamp, message, retry_count, last_error FROM outbound_messages
WHERE sent = 0 AND retry_count < :max_retries
    AND (retry_count = 0 OR timestamp + 60 * (1 << min(retry_count, 40)) <= :now)
ORDER BY timestamp, id LIMIT :limit
"""

FAILED = """
UPDATE outbound_messages SET retry_count = retry_count + 1, last_error = :error WHERE id = :id
"""
FAILED_FOR_GOOD = """
UPDATE outbound_messages SET retry_count = retry_count + 1, last_error = :error,
    sent = 1, sent_timestamp = :now
WHERE id = :id
"""


class Outbound(Base):
    """The table `outbound_messages`."""

    def enqueue_outbound_message(self, message: str) -> int:
        """Queue a message for the bot to say; return its id."""
        with self.conn:
            cursor = self.conn.execute(
                "INSERT INTO outbound_messages (timestamp, message) VALUES (?, ?)",
                (self._now(), message),
            )
        return cursor.lastrowid or 0

    def get_unsent_outbound_messages(
        self, limit: int = 50, max_retries: int = 3
    ) -> list[dict[str, Any]]:
        """Return the unsent messages that are due, oldest first."""
        return list(self.unsent_outbound_messages(limit, max_retries))

    def unsent_outbound_messages(self, limit: int, max_retries: int) -> Iterator[dict[str, Any]]:
        """Yield the same."""
        values = {"limit": limit, "max_retries": max_retries, "now": self._now()}
        return self._each(DUE, values)

    def mark_outbound_sent(self, outbound_id: int) -> None:
        """Mark a message as sent now."""
        with self.conn:
            self.conn.execute(
                "UPDATE outbound_messages SET sent = 1, sent_timestamp = ? WHERE id = ?",
                (self._now(), outbound_id),
            )

    def mark_outbound_failed(
        self, outbound_id: int, error_msg: str, is_permanent: bool = False
    ) -> None:
        """Count a failure; a permanent one is not tried again."""
        values = {"id": outbound_id, "error": error_msg, "now": self._now()}
        with self.conn:
            self.conn.execute(FAILED_FOR_GOOD if is_permanent else FAILED, values)
        if is_permanent:
            logger.warning("Outbound message %d permanently failed: %s", outbound_id, error_msg)
        else:
            logger.info("Outbound message %d failed (will retry): %s", outbound_id, error_msg)
