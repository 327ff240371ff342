"""How what a client tells and asks goes over NATS, and what goes wrong on the way."""

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

from rosey_dbsvc.errors import (
    ConnectionLost,
    InvalidPayload,
    NotServed,
    NotStored,
    Refused,
    TimedOut,
)
from rosey_dbsvc.messaging import stream_probe as question
from rosey_dbsvc.messaging.connection import GONE, describe
from rosey_dbsvc.operations import codec
from rosey_dbsvc.operations.base import StatsRecentChatGet

STORED_WITHIN: Final = 60.0
"""How long an event has to be stored, in seconds: for twice that the server knows its identity."""
ACKNOWLEDGED_WITHIN: Final = 2.0
"""When it is published again, in seconds."""
PAUSE: Final = 0.1

CLOSED: Final = (ConnectionClosedError, ConnectionDrainingError)

T = TypeVar("T")


class Wire(Protocol):
    """What a client needs."""

    async def tell(self, subject: str, payload: bytes) -> None:
        """Publish an event."""

    async def ask(self, subject: str, payload: bytes) -> bytes:
        """Return the answer to a query."""


class NatsWire:
    """Over a connection. Raises ConnectionLost, NotStored, NotServed, TimedOut and Refused."""

    def __init__(self, nc: Client, prefix: str, timeout: float, *, durable: bool) -> None:
        self._nc = nc
        self._prefix = prefix
        self._timeout = timeout
        self._publish = self._store if durable else nc.publish
        self._is_stream_known = False
        self._under_way: set[CancelScope] = set()
        self._left = False

    async def tell(self, subject: str, payload: bytes) -> None:
        """Publish; with `durable` until the stream has acknowledged it."""
        await lowlevel.checkpoint()  # nats-py's publish has none
        await self._until_left(subject, partial(self._publish, subject, payload))

    async def ask(self, subject: str, payload: bytes) -> bytes:
        """Return the body of the reply, unless its headers refuse."""
        reply = await self._until_left(subject, partial(self._request, subject, payload))
        headers = reply.headers or {}
        if codec.ERROR_CODE in headers:
            raise Refused(headers.get(codec.ERROR, ""), headers[codec.ERROR_CODE])
        return reply.data

    def leave(self) -> None:
        """Let those go who wait: nats-py would let them wait for what cannot come."""
        self._left = True
        for scope in self._under_way:
            scope.cancel()

    async def _until_left(self, subject: str, work: Callable[[], Awaitable[T]]) -> T:
        with CancelScope() as scope:
            self._under_way.add(scope)
            try:
                if not self._left:
                    return await work()
            except MaxPayloadError:
                raise InvalidPayload(f"{subject}: it is more than the server takes") from None
            except GONE as error:
                raise ConnectionLost(f"{subject}: {_why(error)}") from error
            finally:
                self._under_way.remove(scope)
        raise ConnectionLost(f"{subject}: the connection is left")

    async def _store(self, subject: str, payload: bytes) -> None:
        headers = {"Nats-Msg-Id": uuid4().hex}
        last: Exception | None = None
        with anyio.move_on_after(STORED_WITHIN):
            while True:
                last = await self._try_to_store(subject, payload, headers)
                if last is None:
                    return
                await anyio.sleep(PAUSE)
        why = "nobody answers" if last is None else _why(last)
        raise NotStored(f"no stream has acknowledged {subject}: {why}") from last

    async def _try_to_store(
        self, subject: str, payload: bytes, headers: dict[str, str]
    ) -> Exception | None:
        """Publish once; return what may pass, and raise what does not."""
        js = self._nc.jetstream()
        try:
            await self._know_the_stream(subject)
            await js.publish(subject, payload, ACKNOWLEDGED_WITHIN, headers=headers)
        except (MaxPayloadError, *CLOSED):
            raise
        except (ValueError, TypeError, LookupError) as error:
            raise NotStored(f"what answers for {subject} is no stream") from error
        except GONE as error:
            if isinstance(error, APIError) and (error.code or 0) < question.ITS_OWN:
                raise NotStored(f"the stream does not take {subject}: {_why(error)}") from error
            return error
        return None

    async def _know_the_stream(self, subject: str) -> None:
        """See that there is one, once: a service in core mode would apply each attempt."""
        if self._is_stream_known:
            return
        try:
            reply = await self._nc.request(
                question.subject(self._prefix),
                question.QUESTION,
                timeout=ACKNOWLEDGED_WITHIN,
                headers=question.headers(),
            )
        except NoReplyError as error:
            if await self._is_served_without_stream():
                raise NotStored(
                    f"nobody acknowledges {subject}: is the service run with --durable?"
                ) from error
            raise
        if question.may_pass(reply.data):
            raise ServiceUnavailableError(code=question.ITS_OWN)
        if question.read_answer(reply.data) is None:
            raise NotStored(f"what answers for {subject} is no stream")
        self._is_stream_known = True

    async def _is_served_without_stream(self) -> bool:
        """Return whether a service answers, and not as one whose stream is away."""
        query = f"{self._prefix}.{StatsRecentChatGet.name}"
        try:
            reply = await self._nc.request(query, b"{}", timeout=ACKNOWLEDGED_WITHIN)
        except GONE:
            return False
        return not {codec.STALE, codec.ERROR_CODE} & set(reply.headers or {})

    async def _request(self, subject: str, payload: bytes) -> Msg:
        try:
            return await self._nc.request(subject, payload, timeout=self._timeout)
        except NoRespondersError:
            raise NotServed(
                f"no service listens at {subject}: does `rosey-dbsvc run`, with that prefix?"
            ) from None
        except NoReplyError:
            raise TimedOut(f"no answer to {subject} within {self._timeout:g} s") from None


def _why(error: Exception) -> str:
    return describe(error) if isinstance(error, Error) else str(error)
