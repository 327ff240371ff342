"""Client methods for user counts, high water marks and the bot's status."""

from typing import Unpack

from rosey_dbsvc.client.base import Base
from rosey_dbsvc.operations import channel as operations


class Channel(Base):
    """Methods of the family `channel`."""

    async def log_user_count(self, chat_users: int, connected_users: int) -> None:
        """Append to the history of user counts."""
        await self._publish(
            operations.StatsUserCount, chat_count=chat_users, connected_count=connected_users
        )

    async def update_high_water_mark(
        self, current_user_count: int, current_connected_count: int | None = None
    ) -> None:
        """Raise the high water marks that are exceeded."""
        connected_count = 0 if current_connected_count is None else current_connected_count
        await self._publish(
            operations.StatsHighWater,
            chat_count=current_user_count,
            connected_count=connected_count,
        )

    async def update_current_status(self, **fields: Unpack[operations.StatusData]) -> None:
        """Set fields of the bot's current status."""
        await self._publish(operations.StatusUpdate, status_data=fields)
