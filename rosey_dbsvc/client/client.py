"""DatabaseClient: the operations as asynchronous methods."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from copy import copy
from functools import partial
from types import TracebackType
from typing import Final, Self

from nats.aio.client import Client

from rosey_dbsvc.client.channel import Channel
from rosey_dbsvc.client.chat import Chat
from rosey_dbsvc.client.outbound import Outbound
from rosey_dbsvc.client.users import Users
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.credentials import NO_CREDENTIALS, Credentials
from rosey_dbsvc.errors import ConnectionLost, DbsvcError, InvalidSettings
from rosey_dbsvc.messaging.connection import check_asyncio, connected
from rosey_dbsvc.messaging.transport import NatsTransport, Transport
from rosey_dbsvc.settings import DEFAULT_PREFIX, check_prefix, check_seconds, check_url

TIMEOUT: Final = 10.0
"""Time limit of a query, in seconds. The service itself gives up after about five."""


class DatabaseClient(Users, Chat, Channel, Outbound):
    """The operations as methods, with the names of Rosey v0.5.0's BotDatabase.

    For example::

        async with DatabaseClient("nats://localhost:4222") as db:
            await db.user_joined("alice")
            messages = await db.get_recent_chat(limit=50)

    Events are published, and the method returns at once; queries are requested. Arguments are
    validated first. Every method may raise InvalidPayload or ConnectionLost; a query may also raise
    NotServed, TimedOut, Refused or UnknownReply. With URLs, entering may raise NoServer,
    ConnectionRefused or InvalidSettings: it does not wait for a server. In durable mode, a service
    that is behind the stream answers with what it has.
    """

    def __init__(
        self,
        nats_client: Client | str | Sequence[str],
        *,
        prefix: str = DEFAULT_PREFIX,
        timeout: float = TIMEOUT,
        durable: bool = False,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        """Take a connection, which stays open; or URLs, for use with `async with`.

        With `durable`, an event is published until the stream has acknowledged it, under an id that
        prevents duplicates. That may raise NotStored after a minute. `timeout` is in seconds.
        `credentials` are for URLs. Raises InvalidSettings.
        """
        servers = [nats_client] if isinstance(nats_client, str) else nats_client
        if not isinstance(servers, Client) and not _are_strings(servers):
            raise InvalidSettings("a client takes a connection of nats-py, or nats://host:4222")
        check_seconds(timeout, "timeout")
        self._prefix = check_prefix(prefix)
        self._over = partial(NatsTransport, prefix=prefix, timeout=timeout, durable=durable)
        self._credentials = credentials
        self._nats = servers
        self._transport: Transport | None = None
        if isinstance(servers, Client):
            self._transport = self._over(servers)
        self._is_entered = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Connect, if URLs were given. Raises NoServer, ConnectionRefused or InvalidSettings."""
        if self._is_entered:
            raise InvalidSettings("the client is entered already")
        if self._transport is None and not isinstance(self._nats, Client):
            check_asyncio()
            urls = [*map(check_url, self._nats)]
            connection = connected(urls, Counts(), _ignore, self._credentials, retry=False)
            transport = self._over(await self._stack.enter_async_context(connection))
            self._transport = transport
            self._stack.callback(transport.close)
            self._is_entered = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_entered:
            self._is_entered, self._transport = False, None
        await self._stack.aclose()

    def over(self, wrap: Callable[[Transport], Transport]) -> Self:
        """Return a copy of the client over another transport, made from this one's."""
        other = copy(self)
        other._transport = wrap(self._connection())  # noqa: SLF001  one of our own
        return other

    def _connection(self) -> Transport:
        if self._transport is None:
            raise ConnectionLost("there is no connection: use `async with DatabaseClient(...)`")
        return self._transport


def _are_strings(servers: object) -> bool:
    if not isinstance(servers, Sequence) or not servers:
        return False
    return all(isinstance(each, str) and each for each in servers)


def _ignore(_: DbsvcError) -> None:
    """Ignore a denied subscription: the call that needs it raises."""
