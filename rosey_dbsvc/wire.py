"""How what a client tells and asks goes over NATS, and what goes wrong on the way."""

from typing import Final, Protocol
from uuid import uuid4

import anyio
from anyio import CancelScope, lowlevel
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error, NoRespondersError
from nats.errors import TimeoutError as NoReplyError

from rosey_dbsvc import codec
from rosey_dbsvc.connection import GONE, describe
from rosey_dbsvc.errors import ConnectionLost, NotServed, NotStored, Refused, TimedOut

STORED_WITHIN: Final = 60.0
"""How long an event has to be stored, in seconds: for twice that the server knows its identity."""
ACKNOWLEDGED_WITHIN: Final = 2.0
"""When it is published again, in seconds."""
PAUSE: Final = 0.1


class Wire(Protocol):
    """What a client needs."""

    async def tell(self, subject: str, payload: bytes) -> None:
        """Publish an event."""

    async def ask(self, subject: str, payload: bytes) -> bytes:
        """Return the answer to a query."""


class NatsWire:
    """Over a connection. Raises ConnectionLost, NotStored, NotServed, TimedOut and Refused."""

    def __init__(self, nc: Client, timeout: float, *, durable: bool) -> None:
        self._nc = nc
        self._timeout = timeout
        self._publish = self._store if durable else self._send
        self._asking: set[CancelScope] = set()

    async def tell(self, subject: str, payload: bytes) -> None:
        """Publish; with `durable` until the stream has acknowledged it."""
        await lowlevel.checkpoint()  # nats-py's publish has none
        await self._publish(subject, payload)

    async def _send(self, subject: str, payload: bytes) -> None:
        try:
            await self._nc.publish(subject, payload)
        except GONE as error:
            raise ConnectionLost(f"{subject} could not be published: {_why(error)}") from error

    async def _store(self, subject: str, payload: bytes) -> None:
        js, headers = self._nc.jetstream(), {"Nats-Msg-Id": uuid4().hex}
        last: Exception = NotStored()
        with anyio.move_on_after(STORED_WITHIN):
            while True:
                try:
                    await js.publish(subject, payload, ACKNOWLEDGED_WITHIN, headers=headers)
                except GONE as error:
                    last = error
                    await anyio.sleep(PAUSE)
                else:
                    return
        raise NotStored(f"no stream has acknowledged {subject}: {_why(last)}") from last

    async def ask(self, subject: str, payload: bytes) -> bytes:
        """Return the body of the reply, unless its headers refuse."""
        with CancelScope() as scope:
            self._asking.add(scope)
            try:
                reply = await self._request(subject, payload)
            finally:
                self._asking.remove(scope)
        if scope.cancelled_caught:
            raise ConnectionLost(f"{subject} is not answered any more: the connection is closed")
        headers = reply.headers or {}
        if codec.ERROR_CODE in headers:
            raise Refused(headers.get(codec.ERROR, ""), headers[codec.ERROR_CODE])
        return reply.data

    async def _request(self, subject: str, payload: bytes) -> Msg:
        try:
            return await self._nc.request(subject, payload, timeout=self._timeout)
        except NoRespondersError:
            raise NotServed(f"no service listens at {subject}") from None
        except NoReplyError:
            raise TimedOut(f"no answer to {subject} within {self._timeout:g} s") from None
        except GONE as error:
            raise ConnectionLost(f"{subject} could not be asked: {_why(error)}") from error

    def leave(self) -> None:
        """Let those go who wait for an answer: nats-py would let them wait."""
        for scope in self._asking:
            scope.cancel()


def _why(error: Exception) -> str:
    return describe(error) if isinstance(error, Error) else str(error)
