"""Client methods for users and their sessions."""

from rosey_dbsvc.client.base import Base
from rosey_dbsvc.operations.users import UserJoined, UserLeft


class Users(Base):
    """Methods of the family `users`."""

    async def user_joined(self, username: str) -> None:
        """Start a session for the user."""
        await self._publish(UserJoined, username=username)

    async def user_left(self, username: str) -> None:
        """End the user's session and add its length to the total."""
        await self._publish(UserLeft, username=username)
