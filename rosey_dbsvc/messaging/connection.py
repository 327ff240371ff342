"""The connection to NATS: made with patience, watched, and closed within bounds."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Final
from urllib.parse import unquote, urlsplit

import anyio
from anyio.lowlevel import current_token
from nats.aio.client import Client, RawCredentials
from nats.aio.subscription import Subscription
from nats.errors import Error, SlowConsumerError

from rosey_dbsvc.counters import Counts
from rosey_dbsvc.credentials import Credentials
from rosey_dbsvc.errors import (
    ConnectionLost,
    ConnectionRefused,
    DbsvcError,
    InvalidSettings,
    NoServer,
    PermissionDenied,
)
from rosey_dbsvc.operations.codec import shorten

logger = logging.getLogger(__name__)

NAME: Final = "rosey-dbsvc"
GREETING: Final = b"INFO "
"""What a NATS server says first."""
CONNECT_TIMEOUT: Final = 2
RECONNECT_WAIT: Final = 1
PING_INTERVAL: Final = 15
"""A dead link is noticed after three of these, in seconds."""

FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 10.0
"""Between two attempts to connect for the first time, in seconds."""

SAID_EVERY: Final = 10.0
"""How often the log says what may happen with every message, in seconds."""

GOODBYE: Final = 1.0
"""How long each step of leaving may take, in seconds."""

REFUSALS: Final = (
    "authorization violation",
    "authentication expired",
    "authentication revoked",
)
PERMISSIONS: Final = "permissions violation"
DENIED: Final = f"{PERMISSIONS} for subscription"
SERVICES: Final = '"$srv.'
REQUEST_DENIED: Final = f'{PERMISSIONS} for publish to "$js.'
"""No reply goes there."""


GONE: Final = (OSError, Error, RuntimeError)
"""What nats-py raises when the server is not there any more, the last one on uvloop."""

OnDenied = Callable[[DbsvcError], None]
NOBODY: Final = Credentials()


class Untrusted(Error):
    """The server does not encrypt."""

    def __str__(self) -> str:
        return "it does not offer any"


class CarefulClient(Client):
    """A client that looks at what it is about to say, with each connection.

    nats-py's own falls back to plain text if the server does not ask for TLS, credentials first;
    and a file of credentials that has been damaged ends its reconnecting for ever.
    """

    def __init__(self, credentials: Credentials, first_url: str, *, secure: bool) -> None:
        super().__init__()
        self._credentials = credentials
        self._of_first_url = _of_url(first_url)
        self._secure = secure

    def _connect_command(self) -> bytes:
        if self._secure and not self._is_encrypted():
            if self._transport is not None:  # what is buffered is not for it, either
                self._transport.close()  # type: ignore[no-untyped-call]
            raise Untrusted
        if not self._credentials.are_given:
            self._take_from_url()
        self._look_into_files()
        return super()._connect_command()

    def _is_encrypted(self) -> bool:
        writer = getattr(self._transport, "_io_writer", None)
        return writer is not None and writer.get_extra_info("ssl_object") is not None

    def _take_from_url(self) -> None:
        # Servers that were found on the way have a URL without credentials.
        server = self._current_server
        found = _of_url(server.uri.geturl()) if server is not None else {}
        self.options.update(dict.fromkeys(("user", "password", "token")))
        self.options.update(found or self._of_first_url)

    def _look_into_files(self) -> None:
        try:
            secret = self._credentials.secret()
        except InvalidSettings as error:
            raise Error(str(error)) from None
        if isinstance(self._user_credentials, RawCredentials):
            self._user_credentials.data = secret


UNTRUSTED: Final = (Untrusted, ssl.SSLError)


class Unreachable(DbsvcError):
    """None of the servers answered."""


class Watch:
    """What a connection says of itself, in the log and in numbers.

    nats-py awaits these methods inside its read loop: they return at once and, once connected,
    never raise.
    """

    def __init__(self, servers: int, counts: Counts, on_denied: OnDenied) -> None:
        self._servers = servers
        self._counts = counts
        self._on_denied = on_denied
        self._connected = False
        self._leaving = False
        self._failures = 0
        self._refusals = 0
        self._said: dict[str, float] = {}

    def connected(self) -> None:
        """Say that the first connection is made: from here on nats-py itself reconnects."""
        self._connected = self._counts.connected = True

    def leaving(self) -> None:
        """Say that the connection is being closed on purpose."""
        self._leaving = True

    async def error(self, error: Exception) -> None:
        """Take an error of the connection's; of the first connect's, end the attempt."""
        if not self._connected:
            self._end_attempt(error)
        elif isinstance(error, SlowConsumerError):
            self._count_drop()
        elif DENIED in str(error).lower() and SERVICES in str(error).lower():
            logger.warning("not to be found with `nats micro`: %s", describe(error))
        elif DENIED in str(error).lower():
            refused = f"the server refuses the subscription: {describe(error)}"
            self._on_denied(PermissionDenied(refused))
        elif REQUEST_DENIED in str(error).lower():
            refused = f"the server refuses a request to JetStream: {describe(error)}"
            self._on_denied(PermissionDenied(refused))
        elif is_refusal(error):
            self._count_refusal(error)
        elif isinstance(error, UNTRUSTED):
            self._say_now_and_then("no TLS with the server any more: %s", describe(error))
        elif PERMISSIONS in str(error).lower():
            self._say_now_and_then("the server refuses what we publish: %s", describe(error))
        else:
            logger.debug("connection: %s", describe(error))

    def _count_refusal(self, error: Exception) -> None:
        self._refusals += 1
        if self._refusals > self._servers:
            self._on_denied(ConnectionLost(f"the server lets us in no more: {describe(error)}"))

    def _end_attempt(self, error: Exception) -> None:
        if is_refusal(error):
            raise ConnectionRefused(f"the server refuses the connection: {describe(error)}")
        if isinstance(error, UNTRUSTED):
            raise ConnectionRefused(f"no TLS with the server: {describe(error)}")
        self._failures += 1
        if self._failures >= self._servers:
            raise Unreachable(describe(error))

    def _count_drop(self) -> None:
        self._counts.dropped += 1
        self._say_now_and_then(
            "messages come faster than they can be read: what finds no room is dropped, and counted"
        )

    def _say_now_and_then(self, line: str, *values: object) -> None:
        now = monotonic()
        if now - self._said.get(line, -SAID_EVERY) >= SAID_EVERY:
            self._said[line] = now
            logger.warning(line, *values)

    async def disconnected(self) -> None:
        """Say that the connection is lost."""
        self._counts.connected = False
        if self._connected and not self._leaving:
            logger.warning("disconnected from NATS")

    async def reconnected(self) -> None:
        """Say that the connection is back."""
        self._refusals = 0
        self._counts.connected = True
        logger.info("connected to NATS again")


@asynccontextmanager
async def connected(
    servers: Sequence[str],
    counts: Counts,
    on_denied: OnDenied,
    credentials: Credentials = NOBODY,
    *,
    patient: bool = True,
) -> AsyncIterator[Client]:
    """Connect, however long it takes, and close the connection at the end.

    Raises InvalidSettings for a URL that is none, ConnectionRefused for credentials that are not
    the server's, and NoServer if none answers and there is no patience. `on_denied` is called if
    the server later refuses a subscription, or us.
    """
    door = Door(list(servers), credentials)
    nc, watch = await _connect(door, counts, on_denied, patient=patient)
    try:
        yield nc
    finally:
        watch.leaving()
        await close(nc)


class Door:
    """The servers, and what opens them. Raises InvalidSettings if a file of it cannot be used."""

    def __init__(self, servers: list[str], credentials: Credentials) -> None:
        self.servers = servers
        self.options = credentials.options()
        self._credentials = credentials
        self._secure = credentials.secures or any(url.startswith("tls://") for url in servers)

    def __str__(self) -> str:
        return ", ".join(map(redact, self.servers))

    def client(self) -> Client:
        """Return a client that is not connected, and insists on TLS if that is asked for."""
        return CarefulClient(self._credentials, self.servers[0], secure=self._secure)


def _of_url(url: str) -> dict[str, str]:
    """Return the credentials in a URL, as nats-py's options have them."""
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if password:
        return {"user": user, "password": password}
    return {"token": user} if user else {}


async def _connect(
    door: Door, counts: Counts, on_denied: OnDenied, *, patient: bool
) -> tuple[Client, Watch]:
    delay = FIRST_DELAY
    while True:
        try:
            return await _attempt(door, Watch(len(door.servers), counts, on_denied))
        except Unreachable as error:
            if not patient:
                raise NoServer(f"no NATS server answers at {door}: {error}") from None
            logger.warning("waiting for NATS at %s: %s", door, error)
        await anyio.sleep(delay)
        delay = min(2 * delay, LONGEST_DELAY)


async def _attempt(door: Door, watch: Watch) -> tuple[Client, Watch]:
    nc = door.client()
    try:
        await nc.connect(
            **door.options,
            servers=door.servers,
            name=NAME,
            error_cb=watch.error,
            disconnected_cb=watch.disconnected,
            reconnected_cb=watch.reconnected,
            connect_timeout=CONNECT_TIMEOUT,
            reconnect_time_wait=RECONNECT_WAIT,
            max_reconnect_attempts=-1,
            ping_interval=PING_INTERVAL,
        )
    except Error as error:  # of the URLs; what the servers say goes to the watch
        raise InvalidSettings(describe(error)) from None
    except BaseException:
        await close(nc)
        raise
    watch.connected()
    return nc, watch


async def close(nc: Client) -> None:
    """Send what is still to be sent, and close, within bounds and whatever is cancelled."""
    # A drain that is cut off leaves tasks behind: none is begun if nobody answers. And from Python
    # 3.12 on, asyncio raises a TypeError for what nats-py still writes to a transport that is lost.
    for goodbyes in ((nc.flush, nc.drain), (nc.close,)):
        with anyio.move_on_after(GOODBYE, shield=True), suppress(*GONE, TypeError):
            for goodbye in goodbyes:
                if not nc.is_closed:
                    await goodbye()


@asynccontextmanager
async def unsubscribed(subscription: Subscription) -> AsyncIterator[None]:
    """End the subscription at the end, within bounds and whatever is cancelled."""
    try:
        yield
    finally:
        with anyio.move_on_after(GOODBYE, shield=True), suppress(*GONE):
            await subscription.unsubscribe()


def is_asyncio() -> bool:
    """Return whether this task runs on asyncio, as nats-py has to."""
    return isinstance(current_token().native_token, asyncio.AbstractEventLoop)


def check_asyncio() -> None:
    """Raise InvalidSettings on another event loop than asyncio's."""
    if not is_asyncio():
        raise InvalidSettings("nats-py needs asyncio: on trio, rosey_dbsvc.embed.serve has it")


async def is_served(host: str, port: int) -> bool:
    """Return whether a NATS server listens there. Raises NoServer if something else does."""
    try:
        with anyio.fail_after(CONNECT_TIMEOUT):
            stream = await anyio.connect_tcp(host, port)
    except OSError:
        return False
    greeting = b""
    async with stream:
        with anyio.move_on_after(CONNECT_TIMEOUT), suppress(anyio.EndOfStream, OSError):
            greeting = await stream.receive(len(GREETING))
    if greeting != GREETING:
        raise NoServer(
            f"what listens on port {port} is no NATS server: "
            "choose another with --local-port, or name a server with --nats-url"
        )
    return True


def is_for_answers(reply: str, prefix: str) -> bool:
    """Return whether a requester may have its answer there.

    Not where the server or this service take requests: they would come from us.
    """
    return not reply.startswith(("$", f"{prefix}."))


def redact(url: str) -> str:
    """Return the URL without what opens the door."""
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def is_refusal(error: Exception) -> bool:
    """Return whether the server does not take our credentials, or takes them no more."""
    return any(refusal in str(error).lower() for refusal in REFUSALS)


def describe(error: Exception) -> str:
    """Return the error on one line, without nats-py's own prefix."""
    if isinstance(error, TimeoutError):
        return "nothing there answers as a NATS server does"
    if isinstance(error, ConnectionResetError):  # before it was read why
        return "the connection was reset, as by a server that wants credentials"
    return shorten(str(error).removeprefix("nats: ").strip("'") or type(error).__name__)
