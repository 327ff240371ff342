"""A stream as one unbroken sequence of messages, each once and in order, or an error.

No acknowledgements: they bring redelivery, and that breaks the order. The server counts what it
delivers to a consumer, so that a message that is missing shows, the last one in the heartbeat.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio
from anyio import lowlevel
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import Header

from rosey_dbsvc.codec import shorten
from rosey_dbsvc.connection import GONE
from rosey_dbsvc.cursor import Position
from rosey_dbsvc.errors import DbsvcError
from rosey_dbsvc.intake import take

MOST: Final = 5000
"""How many messages are asked for at a time. The server sends no more before the next request."""
MOST_BYTES: Final = 16 * 1024 * 1024
EXPIRES: Final = 30.0
"""How long the server waits for so many, in seconds."""
HEARTBEAT: Final = 1.0
"""How often it says meanwhile that it is there, in seconds."""
SILENCE: Final = 3.0
"""How long nothing may come, in seconds."""
AT_ONCE: Final = 256
"""How many messages are taken before others on the event loop have their turn."""
GOODBYE: Final = 1.0

LAST: Final = "Nats-Last-Consumer"
SPENT: Final = frozenset({"Batch Completed", "Request Timeout"})
"""Why a request ends and another may follow. Any other end is that of the consumer."""

TOKENS_OF_OLD: Final = 9
"""In the reply subject of a server that names neither domain nor account."""
PLAIN: Final = slice(5, 8)
IN_DOMAIN: Final = slice(7, 10)

NANOSECONDS: Final = 1_000_000_000


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

    async def messages(self) -> AsyncGenerator[tuple[Position, Msg] | None]:
        """Yield each message with its position, and None for a sign of life.

        Raises Interrupted as soon as one may be missing.
        """
        await self._ask()
        while True:
            yield await self._handle(await self._next())
            for _ in range(min(self._subscription.pending_msgs, AT_ONCE)):
                yield await self._handle(take(self._subscription))
            await lowlevel.checkpoint()

    async def _next(self) -> Msg:
        try:
            return await self._subscription.next_msg(timeout=SILENCE)
        except TimeoutError:
            raise Interrupted("nothing is heard of the consumer") from None
        except GONE as error:
            raise Interrupted(str(error)) from None

    async def _handle(self, msg: Msg) -> tuple[Position, Msg] | None:
        if msg.reply:  # only what is stored has one; any header may be a stranger's
            count, position = _place(msg.reply)
            self._expect(str(count), self._delivered + 1)
            self._delivered = count
            return position, msg
        await self._obey(msg.headers or {})
        return None

    async def _obey(self, status: dict[str, str]) -> None:
        if LAST in status:
            self._expect(status[LAST], self._delivered)
        elif (why := status.get(Header.DESCRIPTION, "")) in SPENT:
            await self._ask()
        else:
            raise Interrupted(f"the consumer has ended: {shorten(why) or 'it is gone'}")

    def _expect(self, count: str, expected: int) -> None:
        if count != str(expected):
            raise Interrupted(f"message {shorten(count)} came where {expected} was due")

    async def _ask(self) -> None:
        try:
            await self._nc.publish(self._subject, self._request, self._subscription.subject)
        except GONE as error:
            raise Interrupted(str(error)) from None


def _place(reply: str) -> tuple[int, Position]:
    """Return what the server says of a message: its count in the delivery, its position."""
    tokens = reply.split(".")
    try:
        sequence, count, stored_at = map(
            int, tokens[PLAIN if len(tokens) == TOKENS_OF_OLD else IN_DOMAIN]
        )
    except ValueError:
        raise Interrupted(f"a message without a place: {shorten(reply)}") from None
    return count, Position(sequence, stored_at)


@asynccontextmanager
async def pulled(nc: Client, subject: str) -> AsyncIterator[Pull]:
    """Be ready to ask the consumer that has this subject. Raises Interrupted."""
    try:
        subscription = await nc.subscribe(nc.new_inbox())
    except GONE as error:
        raise Interrupted(str(error)) from None
    try:
        yield Pull(nc, subscription, subject)
    finally:
        with anyio.move_on_after(GOODBYE, shield=True), suppress(*GONE):
            await subscription.unsubscribe()
