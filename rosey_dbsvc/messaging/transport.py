"""Requests and publishes of a client over NATS, with errors of ours."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol, TypeVar
from uuid import uuid4

import anyio
from anyio import CancelScope, lowlevel
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import (
    ConnectionClosedError,
    ConnectionDrainingError,
    Error,
    MaxPayloadError,
    NoRespondersError,
)
from nats.errors import TimeoutError as NoReplyError
from nats.js.errors import APIError, ServiceUnavailableError

from rosey_dbsvc import errors
from rosey_dbsvc.messaging import stream_probe
from rosey_dbsvc.messaging.connection_events import error_text
from rosey_dbsvc.messaging.nats_private import CONNECTION_ERRORS
from rosey_dbsvc.operations import codec
from rosey_dbsvc.operations.chat import StatsRecentChatGet

STORE_TIMEOUT: Final = 60.0
"""Time limit to store an event, in seconds. The server knows its id for twice as long."""
ACK_TIMEOUT: Final = 2.0
"""Time after which an event without acknowledgement is published again, in seconds."""
RETRY_DELAY: Final = 0.1
CLOSED: Final = (ConnectionClosedError, ConnectionDrainingError)

T = TypeVar("T")


class Transport(Protocol):
    """The connection of a client to the service."""

    async def publish(self, subject: str, payload: bytes) -> None:
        """Publish an event."""

    async def request(self, subject: str, payload: bytes) -> bytes:
        """Send a query and return the body of the reply."""


class NatsTransport:
    """A transport over nats-py.

    Raises ConnectionLost, InvalidPayload, NotStored, NotServed, TimedOut and Refused.
    """

    def __init__(self, nc: Client, prefix: str, timeout: float, *, durable: bool) -> None:
        self._nc = nc
        self._prefix = prefix
        self._timeout = timeout
        self._send = self._store if durable else nc.publish
        self._found_stream = False
        self._calls: set[CancelScope] = set()
        self._is_closed = False

    async def publish(self, subject: str, payload: bytes) -> None:
        """Publish an event; in durable mode until the stream has acknowledged it."""
        await lowlevel.checkpoint()  # nats-py's publish has none
        await self._until_closed(subject, partial(self._send, subject, payload))

    async def request(self, subject: str, payload: bytes) -> bytes:
        """Send a query and return the body of the reply. Raises Refused for an error reply."""
        reply = await self._until_closed(subject, partial(self._request, subject, payload))
        headers = reply.headers or {}
        if codec.ERROR_CODE in headers:
            raise errors.Refused(headers.get(codec.ERROR, ""), headers[codec.ERROR_CODE])
        return reply.data

    def close(self) -> None:
        """Cancel calls in progress, because nats-py would let them wait for nothing."""
        self._is_closed = True
        for scope in self._calls:
            scope.cancel()

    async def _until_closed(self, subject: str, call: Callable[[], Awaitable[T]]) -> T:
        with CancelScope() as scope:
            self._calls.add(scope)
            try:
                if not self._is_closed:
                    return await call()
            except MaxPayloadError:
                raise errors.InvalidPayload(
                    f"{subject}: larger than the server's max_payload"
                ) from None
            except CONNECTION_ERRORS as error:
                raise errors.ConnectionLost(f"{subject}: {_reason(error)}") from error
            finally:
                self._calls.remove(scope)
        raise errors.ConnectionLost(f"{subject}: the client is closed")

    async def _store(self, subject: str, payload: bytes) -> None:
        headers = {"Nats-Msg-Id": uuid4().hex}
        last: Exception | None = None
        with anyio.move_on_after(STORE_TIMEOUT):
            while True:
                last = await self._try_to_store(subject, payload, headers)
                if last is None:
                    return
                await anyio.sleep(RETRY_DELAY)
        reason = "no reply" if last is None else _reason(last)
        raise errors.NotStored(f"no stream acknowledged {subject}: {reason}") from last

    async def _try_to_store(
        self, subject: str, payload: bytes, headers: dict[str, str]
    ) -> Exception | None:
        """Publish once; return a transient error, raise any other."""
        js = self._nc.jetstream()
        try:
            await self._find_stream(subject)
            await js.publish(subject, payload, ACK_TIMEOUT, headers=headers)
        except (MaxPayloadError, *CLOSED):
            raise
        except (ValueError, TypeError, LookupError) as error:
            raise errors.NotStored(f"what replies to {subject} is not a stream") from error
        except CONNECTION_ERRORS as error:
            if isinstance(error, APIError) and (error.code or 0) < stream_probe.SERVER_ERROR:
                raise errors.NotStored(f"the stream refuses {subject}: {_reason(error)}") from error
            return error
        return None

    async def _find_stream(self, subject: str) -> None:
        """Check once that there is a stream: core mode would apply each attempt."""
        if self._found_stream:
            return
        try:
            reply = await self._nc.request(
                stream_probe.subject(self._prefix),
                stream_probe.PAYLOAD,
                timeout=ACK_TIMEOUT,
                headers=stream_probe.headers(),
            )
        except NoReplyError as error:
            if await self._is_core_mode():
                raise errors.NotStored(
                    f"nothing acknowledges {subject}: start the service with --durable"
                ) from error
            raise
        if stream_probe.is_transient(reply.data):
            raise ServiceUnavailableError(code=stream_probe.SERVER_ERROR)
        if stream_probe.last_sequence(reply.data) is None:
            raise errors.NotStored(f"what replies to {subject} is not a stream")
        self._found_stream = True

    async def _is_core_mode(self) -> bool:
        """Return whether a service replies, and not as one whose stream is away."""
        query = f"{self._prefix}.{StatsRecentChatGet.name}"
        try:
            reply = await self._nc.request(query, b"{}", timeout=ACK_TIMEOUT)
        except CONNECTION_ERRORS:
            return False
        return not {codec.STALE, codec.ERROR_CODE} & set(reply.headers or {})

    async def _request(self, subject: str, payload: bytes) -> Msg:
        try:
            return await self._nc.request(subject, payload, timeout=self._timeout)
        except NoRespondersError:
            raise errors.NotServed(
                f"no service listens on {subject}: start `rosey-dbsvc run` with this prefix"
            ) from None
        except NoReplyError:
            raise errors.TimedOut(f"no reply to {subject} within {self._timeout:g} s") from None


def _reason(error: Exception) -> str:
    return error_text(error) if isinstance(error, Error) else str(error)
