"""What a bot calls in place of a BotDatabase."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from copy import copy
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack

from nats.aio.client import Client

from rosey_dbsvc.counters import Counts
from rosey_dbsvc.credentials import Credentials
from rosey_dbsvc.errors import ConnectionLost, DbsvcError, InvalidSettings
from rosey_dbsvc.messaging.connection import NOBODY, check_asyncio, connected
from rosey_dbsvc.messaging.transport import NatsWire, Wire
from rosey_dbsvc.operations import codec
from rosey_dbsvc.operations.base import (
    ChatLine,
    Event,
    MessageLog,
    MessagesOutboundGet,
    MessagesOutboundMarkSent,
    OutboundMessage,
    Query,
    StatsHighWater,
    StatsRecentChatGet,
    StatsUserCount,
    StatusData,
    StatusUpdate,
    UserJoined,
    UserLeft,
)
from rosey_dbsvc.settings import DEFAULT_PREFIX, check_prefix, check_seconds, check_url

TIMEOUT: Final = 10.0
"""How long a query has to be answered, in seconds. The service itself gives up after some five."""

T = TypeVar("T")


class DatabaseClient:
    """The nine operations as methods, with the names that Rosey v0.5.0's BotDatabase has for them.

    For example::

        async with DatabaseClient("nats://localhost:4222") as db:
            await db.user_joined("alice")
            lines = await db.get_recent_chat(limit=50)

    Events are published and come back at once; queries are requested. Arguments are checked before
    they leave. Every method may raise InvalidPayload, for an argument that the operation does not
    take, and ConnectionLost; a query besides NotServed, TimedOut, Refused and UnknownReply. With
    URLs, entering may raise NoServer, ConnectionRefused or InvalidSettings: it does not wait for a
    server. A service that reads a stream and is behind answers with what it has.
    """

    def __init__(
        self,
        nats_client: Client | str | Sequence[str],
        *,
        prefix: str = DEFAULT_PREFIX,
        timeout: float = TIMEOUT,
        durable: bool = False,
        credentials: Credentials = NOBODY,
    ) -> None:
        """Take a connection, which is left open; or URLs, to be used in `async with`.

        With `durable` an event is published until the stream has acknowledged it, under an identity
        of its own: it is not lost, and not doubled. That may raise NotStored, after a minute.
        `credentials` are for the servers of URLs. Raises InvalidSettings.
        """
        servers = [nats_client] if isinstance(nats_client, str) else nats_client
        if not isinstance(servers, Client) and not _are_texts(servers):
            raise InvalidSettings("a client takes a connection of nats-py's, or nats://host:4222")
        check_seconds(timeout, "timeout")
        self._prefix = check_prefix(prefix)
        self._how = partial(NatsWire, prefix=prefix, timeout=timeout, durable=durable)
        self._credentials = credentials
        self._nats = servers
        self._wire: Wire | None = None
        if isinstance(servers, Client):
            self._wire = self._how(servers)
        self._entered = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Connect, if it was given URLs. Raises NoServer, ConnectionRefused or InvalidSettings."""
        if self._entered:
            raise InvalidSettings("the client is entered already")
        if self._wire is None and not isinstance(self._nats, Client):
            check_asyncio()
            urls = [*map(check_url, self._nats)]
            connection = connected(urls, Counts(), _ignore, self._credentials, patient=False)
            self._wire = wire = self._how(await self._stack.enter_async_context(connection))
            self._stack.callback(wire.leave)
            self._entered = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._entered:
            self._entered, self._wire = False, None
        await self._stack.aclose()

    def over(self, change: Callable[[Wire], Wire]) -> Self:
        """Return the same client over another wire, made from this one's."""
        there = copy(self)
        there._wire = change(self._connection())  # noqa: SLF001  one of our own
        return there

    # Events

    async def user_joined(self, username: str) -> None:
        """Start a session for the user."""
        await self._tell(UserJoined, username=username)

    async def user_left(self, username: str) -> None:
        """End the user's session and add its length to the total."""
        await self._tell(UserLeft, username=username)

    async def user_chat_message(self, username: str, message: str | None = None) -> None:
        """Count a line of the user's and remember it; without a message it is ignored."""
        await self._tell(MessageLog, username=username, message="" if message is None else message)

    async def log_user_count(self, chat_users: int, connected_users: int) -> None:
        """Append to the history of user counts."""
        await self._tell(StatsUserCount, chat_count=chat_users, connected_count=connected_users)

    async def update_high_water_mark(
        self, current_user_count: int, current_connected_count: int | None = None
    ) -> None:
        """Raise the high water marks that are exceeded."""
        connected_count = 0 if current_connected_count is None else current_connected_count
        await self._tell(
            StatsHighWater, chat_count=current_user_count, connected_count=connected_count
        )

    async def update_current_status(self, **fields: Unpack[StatusData]) -> None:
        """Set those fields of the bot's current status."""
        await self._tell(StatusUpdate, status_data=fields)

    async def mark_outbound_sent(self, outbound_id: int) -> None:
        """Mark an outbound message as sent."""
        await self._tell(MessagesOutboundMarkSent, message_id=outbound_id)

    # Queries

    async def get_unsent_outbound_messages(
        self, limit: int = 50, max_retries: int = 3
    ) -> list[OutboundMessage]:
        """Return the unsent outbound messages that are due, oldest first."""
        rows = list[OutboundMessage]
        return await self._ask(MessagesOutboundGet, rows, limit=limit, max_retries=max_retries)

    async def get_recent_chat(self, limit: int = 20) -> list[ChatLine]:
        """Return the last lines of chat, oldest first."""
        return await self._ask(StatsRecentChatGet, list[ChatLine], limit=limit)

    async def recent_chat(self, limit: int = 50) -> list[ChatLine]:
        """Return the same, as many as the specification has it."""
        return await self.get_recent_chat(limit)

    # How

    async def _tell(self, operation: type[Event], **fields: Any) -> None:  # noqa: ANN401
        payload = codec.pack(operation, fields)
        await self._connection().tell(f"{self._prefix}.{operation.name}", payload)

    async def _ask(self, operation: type[Query], rows: type[T], **fields: Any) -> T:  # noqa: ANN401
        payload = codec.pack(operation, fields)
        reply = await self._connection().ask(f"{self._prefix}.{operation.name}", payload)
        return codec.unpack(rows, reply)

    def _connection(self) -> Wire:
        if self._wire is None:
            raise ConnectionLost("there is no connection: use `async with DatabaseClient(...)`")
        return self._wire


def _are_texts(servers: object) -> bool:
    if not isinstance(servers, Sequence) or not servers:
        return False
    return all(isinstance(each, str) and each for each in servers)


def _ignore(_: DbsvcError) -> None:
    """Whoever is not let in learns of it from what it tells or asks."""
