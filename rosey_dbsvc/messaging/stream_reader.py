"""A stream as one unbroken sequence of messages, each once and in order, or an error.

No acknowledgements: they bring redelivery, and that breaks the order. The server counts what it
delivers to a consumer, so that a message that is missing shows, the last one in the heartbeat.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from anyio import lowlevel
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import Header

from rosey_dbsvc.errors import DbsvcError
from rosey_dbsvc.messaging.connection import GONE, unsubscribed
from rosey_dbsvc.messaging.subscription import take
from rosey_dbsvc.operations.codec import shorten
from rosey_dbsvc.storage.cursor import Position

MOST: Final = 20_000
"""How many messages are asked for at a time. The server sends no more before the next request."""
MOST_BYTES: Final = 16 * 1024 * 1024
"""And no more bytes than that, or than two messages may have."""
EXPIRES: Final = 30.0
"""How long the server waits for so many, in seconds."""
HEARTBEAT: Final = 1.0
"""How often it says meanwhile that it is there, in seconds."""
SILENCE: Final = 3.0
"""How long nothing may come, in seconds."""
AT_ONCE: Final = 256
"""How many messages are taken before others on the event loop have their turn."""

LAST: Final = "Nats-Last-Consumer"
SPENT: Final = frozenset({"Batch Completed", "Message Size Exceeds MaxBytes", "Request Timeout"})
"""Why a request ends and another may follow. Any other end is that of the consumer."""

WITH_TOKEN: Final = 11
"""How many dots a reply subject has that ends with a random token, after all that is of use."""

NANOSECONDS: Final = 1_000_000_000


Placed = tuple[Position, Msg]


class Interrupted(DbsvcError):
    """Messages of the stream may be missing."""


class Pull:
    """Asks a consumer for messages, again and again, and counts what comes."""

    def __init__(self, nc: Client, subscription: Subscription, subject: str) -> None:
        self._nc = nc
        self._subscription = subscription
        self._subject = subject
        self._request = json.dumps(
            {
                "batch": MOST,
                "max_bytes": max(MOST_BYTES, 2 * nc.max_payload),
                "expires": int(EXPIRES * NANOSECONDS),
                "idle_heartbeat": int(HEARTBEAT * NANOSECONDS),
            }
        ).encode()
        self._delivered = 0

    async def messages(self) -> AsyncGenerator[list[Placed]]:
        """Yield messages with their positions, as many as there are; none is a sign of life.

        Raises Interrupted as soon as one may be missing.
        """
        await self._ask()
        while True:
            msgs = [await self._next()]
            queued = min(self._subscription.pending_msgs, AT_ONCE)
            msgs += [take(self._subscription) for _ in range(queued)]
            found: list[Placed] = []
            for msg in msgs:
                if msg.reply:  # only what is stored has one; any header may be a stranger's
                    found.append((self._count(msg.reply), msg))
                else:
                    await self._obey(msg.headers or {})
            yield found

    async def _next(self) -> Msg:
        if self._subscription.pending_msgs:
            await lowlevel.checkpoint()
            return take(self._subscription)
        try:
            return await self._subscription.next_msg(timeout=SILENCE)
        except TimeoutError:
            raise Interrupted("nothing is heard of the consumer") from None
        except GONE as error:
            raise Interrupted(str(error)) from None

    def _count(self, reply: str) -> Position:
        count, position = _place(reply)
        self._delivered += 1
        if count != self._delivered:
            raise Interrupted(f"message {count} came where {self._delivered} was due")
        return position

    async def _obey(self, status: dict[str, str]) -> None:
        if LAST in status:
            if status[LAST] != str(self._delivered):
                raise Interrupted(f"message {self._delivered + 1} did not come")
        elif (why := status.get(Header.DESCRIPTION, "")) in SPENT:
            await self._ask()
        else:
            why = shorten(why.partition("\n")[0]) or "it is gone"
            raise Interrupted(f"the consumer has ended: {why}")

    async def _ask(self) -> None:
        try:
            await self._nc.publish(self._subject, self._request, self._subscription.subject)
        except GONE as error:
            raise Interrupted(str(error)) from None


def _place(reply: str) -> tuple[int, Position]:
    """Return what the server says of a message: its count in the delivery, its position."""
    if reply.count(".") == WITH_TOKEN:
        reply = reply.rpartition(".")[0]
    try:
        _, sequence, count, stored_at, _ = reply.rsplit(".", 4)
        return int(count), Position(int(sequence), int(stored_at))
    except ValueError:
        raise Interrupted(f"a message without a place: {shorten(reply)}") from None


@asynccontextmanager
async def pulled(nc: Client, subject: str) -> AsyncIterator[Pull]:
    """Be ready to ask the consumer that has this subject. Raises Interrupted."""
    try:
        subscription = await nc.subscribe(nc.new_inbox())
    except GONE as error:
        raise Interrupted(str(error)) from None
    async with unsubscribed(subscription):
        yield Pull(nc, subscription, subject)
