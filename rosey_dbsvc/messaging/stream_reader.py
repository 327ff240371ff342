"""Reads a stream as an unbroken sequence of messages, each once and in order, or raises.

It uses no acknowledgements, because redelivery breaks the order. The server numbers what it
delivers to a consumer, so a missing message shows in the next one or in the heartbeat.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from anyio import lowlevel
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import Header

from rosey_dbsvc._text import shorten
from rosey_dbsvc.errors import DbsvcError
from rosey_dbsvc.messaging.connection import unsubscribed
from rosey_dbsvc.messaging.nats_private import CONNECTION_ERRORS, take_queued

MAX_MESSAGES: Final = 20_000
MAX_BYTES: Final = 16 * 1024 * 1024
"""Limits of a pull request, after which the server waits for the next one."""
EXPIRES: Final = 30.0  # time after which a pull request ends, in seconds
HEARTBEAT: Final = 1.0  # interval of the server's heartbeats, in seconds
SILENCE_TIMEOUT: Final = 3.0
"""Time without message and heartbeat after which the consumer is given up, in seconds."""
MAX_TAKEN: Final = 256  # messages taken from the queue before other tasks can run

LAST_DELIVERED: Final = "Nats-Last-Consumer"
REQUEST_ENDED: Final = frozenset(
    {"Batch Completed", "Message Size Exceeds MaxBytes", "Request Timeout"}
)
"""Status descriptions after which another pull request may follow."""
DOTS_WITH_TOKEN: Final = 11
"""Number of dots in an acknowledgement subject that ends with a random token."""
NANOSECONDS: Final = 1_000_000_000


class StoredMessage(NamedTuple):
    """A message of a stream. The time is in nanoseconds of Unix time."""

    sequence: int
    stored_at: int
    msg: Msg


class StreamInterrupted(DbsvcError):
    """Messages of the stream may be missing."""


class StreamReader:
    """Pulls messages from a consumer, and checks that none is missing."""

    def __init__(self, nc: Client, subscription: Subscription, subject: str) -> None:
        self._nc = nc
        self._subscription = subscription
        self._subject = subject
        self._request = json.dumps(
            {
                "batch": MAX_MESSAGES,
                "max_bytes": max(MAX_BYTES, 2 * nc.max_payload),
                "expires": int(EXPIRES * NANOSECONDS),
                "idle_heartbeat": int(HEARTBEAT * NANOSECONDS),
            }
        ).encode()
        self._delivered = 0

    async def batches(self) -> AsyncGenerator[list[StoredMessage]]:
        """Yield the messages that are there; an empty list is a heartbeat.

        Raises StreamInterrupted.
        """
        await self._pull()
        while True:
            msgs = [await self._next()]
            queued = min(self._subscription.pending_msgs, MAX_TAKEN)
            msgs += [take_queued(self._subscription) for _ in range(queued)]
            found: list[StoredMessage] = []
            for msg in msgs:
                if msg.reply:  # only stored messages have one; headers may be a publisher's
                    found.append(self._check(msg))
                else:
                    await self._handle_status(msg.headers or {})
            yield found

    async def _next(self) -> Msg:
        if self._subscription.pending_msgs:
            await lowlevel.checkpoint()
            return take_queued(self._subscription)
        try:
            return await self._subscription.next_msg(timeout=SILENCE_TIMEOUT)
        except TimeoutError:
            raise StreamInterrupted("the consumer sends nothing") from None
        except CONNECTION_ERRORS as error:
            raise StreamInterrupted(str(error)) from None

    def _check(self, msg: Msg) -> StoredMessage:
        number, sequence, stored_at = _parse_reply(msg.reply)
        self._delivered += 1
        if number != self._delivered:
            raise StreamInterrupted(f"message {number} arrived in place of {self._delivered}")
        return StoredMessage(sequence, stored_at, msg)

    async def _handle_status(self, headers: dict[str, str]) -> None:
        if LAST_DELIVERED in headers:
            if headers[LAST_DELIVERED] != str(self._delivered):
                raise StreamInterrupted(f"message {self._delivered + 1} did not arrive")
        elif (status := headers.get(Header.DESCRIPTION, "")) in REQUEST_ENDED:
            await self._pull()
        else:
            status = shorten(status.partition("\n")[0]) or "it is gone"
            raise StreamInterrupted(f"the consumer has ended: {status}")

    async def _pull(self) -> None:
        try:
            await self._nc.publish(self._subject, self._request, self._subscription.subject)
        except CONNECTION_ERRORS as error:
            raise StreamInterrupted(str(error)) from None


def _parse_reply(reply: str) -> tuple[int, int, int]:
    """Return number in the delivery, sequence and time from an acknowledgement subject."""
    if reply.count(".") == DOTS_WITH_TOKEN:
        reply = reply.rpartition(".")[0]
    try:
        _, sequence, number, stored_at, _ = reply.rsplit(".", 4)
        return int(number), int(sequence), int(stored_at)
    except ValueError:
        raise StreamInterrupted(f"a message without metadata: {shorten(reply)}") from None


@asynccontextmanager
async def open_reader(nc: Client, subject: str) -> AsyncIterator[StreamReader]:
    """Yield a reader of the consumer with this subject. Raises StreamInterrupted."""
    try:
        subscription = await nc.subscribe(nc.new_inbox())
    except CONNECTION_ERRORS as error:
        raise StreamInterrupted(str(error)) from None
    async with unsubscribed(subscription):
        yield StreamReader(nc, subscription, subject)
