"""The connection to NATS: opened with retries, and closed within a time limit."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

import anyio
from anyio.lowlevel import current_token
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import Error

from rosey_dbsvc._aio import Backoff
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.credentials import NO_CREDENTIALS, Credentials
from rosey_dbsvc.errors import InvalidSettings, NoServer
from rosey_dbsvc.messaging import connection_events
from rosey_dbsvc.messaging.nats_private import CONNECTION_ERRORS, CheckedClient, accept_undecodable

NAME: Final = "rosey-dbsvc"
CONNECT_TIMEOUT: Final = 2
RECONNECT_INTERVAL: Final = 1
PING_INTERVAL: Final = 15  # a dead link is noticed after three of these, in seconds
FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 10.0  # bounds of the time between two first attempts to connect, in seconds
CLOSE_TIMEOUT: Final = 1.0  # time limit of each step of closing, in seconds


@asynccontextmanager
async def connected(
    urls: Sequence[str],
    counts: Counts,
    on_denied: connection_events.OnDenied,
    credentials: Credentials = NO_CREDENTIALS,
    *,
    retry: bool = True,
) -> AsyncIterator[Client]:
    """Connect, and close the connection at the end.

    Raises InvalidSettings for a URL or file, ConnectionRefused for credentials or TLS, and, without
    `retry`, NoServer if no server responds.
    """
    nc, events = await _connect(list(urls), credentials, counts, on_denied, retry=retry)
    try:
        yield nc
    finally:
        events.closing()
        await close(nc)


async def _connect(
    urls: list[str],
    credentials: Credentials,
    counts: Counts,
    on_denied: connection_events.OnDenied,
    *,
    retry: bool,
) -> tuple[Client, connection_events.ConnectionEvents]:
    shown = ", ".join(map(redact, urls))
    backoff = Backoff(
        f"waiting for NATS at {shown}",
        f"NATS at {shown} responds",
        first_delay=FIRST_DELAY,
        longest_delay=LONGEST_DELAY,
    )
    while True:
        events = connection_events.ConnectionEvents(len(urls), counts, on_denied)
        try:
            nc = await _attempt(urls, credentials, events)
        except connection_events.Unreachable as error:
            if not retry:
                raise NoServer(f"no NATS server responds at {shown}: {error}") from None
            await backoff.wait(str(error))
        else:
            backoff.succeeded()
            return nc, events


async def _attempt(
    urls: list[str], credentials: Credentials, events: connection_events.ConnectionEvents
) -> Client:
    need_tls = credentials.need_tls or any(url.startswith("tls://") for url in urls)
    options = credentials.options()
    nc = CheckedClient(credentials, urls[0], need_tls=need_tls)
    accept_undecodable(nc)
    try:
        await nc.connect(
            **options,
            servers=urls,
            name=NAME,
            error_cb=events.error,
            disconnected_cb=events.disconnected,
            reconnected_cb=events.reconnected,
            connect_timeout=CONNECT_TIMEOUT,
            reconnect_time_wait=RECONNECT_INTERVAL,
            max_reconnect_attempts=-1,
            ping_interval=PING_INTERVAL,
        )
    except Error as error:  # of the URLs; the server's errors go to `events`
        raise InvalidSettings(connection_events.error_text(error)) from None
    except BaseException:
        await close(nc)
        raise
    events.connected()
    return nc


async def close(nc: Client) -> None:
    """Send what is buffered and close, within time limits, whatever is cancelled."""
    # A drain that is cut off leaves tasks behind: none is begun if the server does not respond.
    # From Python 3.12 on, asyncio raises TypeError for a write of nats-py to a lost transport.
    for steps in ((nc.flush, nc.drain), (nc.close,)):
        with (
            anyio.move_on_after(CLOSE_TIMEOUT, shield=True),
            suppress(*CONNECTION_ERRORS, TypeError),
        ):
            for step in steps:
                if not nc.is_closed:
                    await step()


@asynccontextmanager
async def unsubscribed(subscription: Subscription) -> AsyncIterator[None]:
    """Unsubscribe at the end, within a time limit, whatever is cancelled."""
    try:
        yield
    finally:
        with anyio.move_on_after(CLOSE_TIMEOUT, shield=True), suppress(*CONNECTION_ERRORS):
            await subscription.unsubscribe()


def is_asyncio() -> bool:
    """Return whether this task runs on asyncio, which nats-py needs."""
    return isinstance(current_token().native_token, asyncio.AbstractEventLoop)


def check_asyncio() -> None:
    """Raise InvalidSettings on another event loop than asyncio's."""
    if not is_asyncio():
        raise InvalidSettings("nats-py needs asyncio: on trio, use rosey_dbsvc.embed.serve")


def may_reply_to(reply: str, prefix: str) -> bool:
    """Return whether a reply subject is one for replies.

    A reply to a subject of the server or of this service would be a request in our name.
    """
    return not reply.startswith(("$", f"{prefix}."))


def redact(url: str) -> str:
    """Return the URL without user and password."""
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def server_url(nc: Client) -> str:
    """Return the URL of the connected server, without user and password."""
    return redact(nc.connected_url.geturl()) if nc.connected_url else "a server that is away"
