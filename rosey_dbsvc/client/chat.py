"""Client methods for chat messages."""

from rosey_dbsvc.client.base import Base
from rosey_dbsvc.operations.chat import ChatLine, MessageLog, StatsRecentChatGet


class Chat(Base):
    """Methods of the family `chat`."""

    async def user_chat_message(self, username: str, message: str | None = None) -> None:
        """Count a chat message of the user and store it; without a message, do nothing."""
        text = "" if message is None else message
        await self._publish(MessageLog, username=username, message=text)

    async def get_recent_chat(self, limit: int = 20) -> list[ChatLine]:
        """Return the last chat messages, oldest first."""
        return await self._request(StatsRecentChatGet, list[ChatLine], limit=limit)

    async def recent_chat(self, limit: int = 50) -> list[ChatLine]:
        """Return the same, with the default limit of the specification."""
        return await self.get_recent_chat(limit)
