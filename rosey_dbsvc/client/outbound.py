"""Client methods for outbound messages."""

from rosey_dbsvc.client.base import Base
from rosey_dbsvc.operations import outbound as operations


class Outbound(Base):
    """Methods of the family `outbound`."""

    async def mark_outbound_sent(self, outbound_id: int) -> None:
        """Mark an outbound message as sent."""
        await self._publish(operations.MessagesOutboundMarkSent, message_id=outbound_id)

    async def get_unsent_outbound_messages(
        self, limit: int = 50, max_retries: int = 3
    ) -> list[operations.OutboundMessage]:
        """Return the unsent outbound messages that are due, oldest first."""
        rows = list[operations.OutboundMessage]
        return await self._request(
            operations.MessagesOutboundGet, rows, limit=limit, max_retries=max_retries
        )
