"""Outbound messages: what the bot has to say in the channel."""

import logging
from collections.abc import Iterator
from typing import Any, Final

from rosey_dbsvc.operations.outbound import MessagesOutboundGet, MessagesOutboundMarkSent
from rosey_dbsvc.storage.sqlite.base import Base, Handlers

logger = logging.getLogger(__name__)

# Cast, because other programs may have written other types. Due 2 ** retry_count minutes after it
# was queued; the limit of 40 prevents an overflow.
DUE = """
SELECT id, coalesce(CAST(timestamp AS INTEGER), 0) AS timestamp,
    coalesce(CAST(message AS TEXT), '') AS message, CAST(retry_count AS INTEGER) AS retry_count,
    CAST(last_error AS TEXT) AS last_error
FROM outbound_messages
WHERE sent = 0 AND retry_count < :max_retries
    AND (retry_count = 0 OR timestamp + 60 * (1 << min(retry_count, 40)) <= :now)
ORDER BY outbound_messages.timestamp, id LIMIT :limit
"""

FAILED = """
UPDATE outbound_messages SET retry_count = retry_count + 1, last_error = :error WHERE id = :id
"""
PERMANENTLY_FAILED = """
UPDATE outbound_messages SET retry_count = retry_count + 1, last_error = :error,
    sent = 1, sent_timestamp = :now
WHERE id = :id
"""


class Outbound(Base):
    """The table `outbound_messages`."""

    def enqueue_outbound_message(self, message: str) -> int:
        """Queue a message; return its id."""
        with self.atomic():
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
        """Yield the rows of `get_unsent_outbound_messages`, each read when it is used."""
        values = {"limit": limit, "max_retries": max_retries, "now": self._now()}
        return self._each(DUE, values)

    def mark_outbound_sent(self, outbound_id: int) -> None:
        """Mark a message as sent."""
        with self.atomic():
            self.conn.execute(
                "UPDATE outbound_messages SET sent = 1, sent_timestamp = ? WHERE id = ?",
                (self._now(), outbound_id),
            )

    def mark_outbound_failed(
        self, outbound_id: int, error_msg: str, is_permanent: bool = False
    ) -> None:
        """Count a failure. After a permanent one the message is not retried."""
        values = {"id": outbound_id, "error": error_msg, "now": self._now()}
        with self.atomic():
            self.conn.execute(PERMANENTLY_FAILED if is_permanent else FAILED, values)
        if is_permanent:
            logger.warning("Outbound message %d permanently failed: %s", outbound_id, error_msg)
        else:
            logger.info("Outbound message %d failed (will retry): %s", outbound_id, error_msg)


def _due(database: Outbound, query: MessagesOutboundGet) -> Iterator[dict[str, Any]]:
    if query.username == "":
        return iter(())
    return database.unsent_outbound_messages(query.limit, query.max_retries)


HANDLERS: Final[Handlers] = {
    MessagesOutboundMarkSent: lambda database, event: database.mark_outbound_sent(event.message_id),
    MessagesOutboundGet: _due,
}
