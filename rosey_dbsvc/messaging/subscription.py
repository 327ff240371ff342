"""Where messages come from: a subscription, and an end that loses none of them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

from anyio import Event, lowlevel
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from rosey_dbsvc._unless import unless
from rosey_dbsvc.errors import NoServer
from rosey_dbsvc.messaging.connection import GONE, unsubscribed

AT_ONCE: Final = 256
"""How many messages are taken before others on the event loop have their turn."""
DEEP: Final = 32_768
MOST_AT_ONCE: Final = 4096
"""With more than `DEEP` waiting it is so many, which is more than a read of the socket brings."""
LOOKED_EVERY: Final = 0.05
"""How often a flush looks whether the server is still there, in seconds."""


def take(subscription: Subscription) -> Msg:
    """Return a message that is queued already, without the task that nats-py makes for one."""
    waiting: asyncio.Queue[Msg] = subscription._pending_queue  # noqa: SLF001
    msg = waiting.get_nowait()
    waiting.task_done()
    subscription._pending_size -= len(msg.data)  # noqa: SLF001
    return msg


class Intake:
    """The messages of a subscription; they end when asked to, after all that was delivered."""

    def __init__(self, nc: Client, subscription: Subscription) -> None:
        self.known = False
        """Whether the server has said that it knows the subscription."""
        self._nc = nc
        self._subscription = subscription

    async def messages(self) -> AsyncGenerator[Msg]:
        """Yield the messages in order. A loop over them is ended with `end`: cancelled, it loses.

        nats-py's iterator makes a task for each message. Here it is only waited on; what is there
        already is taken without it, at most so many at a time that others on the loop can run.
        """
        async for msg in self._subscription.messages:
            yield msg
            queued = self._subscription.pending_msgs
            for _ in range(MOST_AT_ONCE if queued > DEEP else min(queued, AT_ONCE)):
                yield take(self._subscription)

    @property
    def delivered(self) -> int:
        """How many messages have been delivered, dropped ones included."""
        return self._subscription.delivered

    async def end(self) -> None:
        """Take nothing new, and let `messages` end once what was delivered is read.

        This is `Subscription.drain` in parts of its own: that one waits in vain for a server that
        has gone, and cancelled while it waits for a live one, it leaves the connection deaf.
        """
        try:
            if self.known and self._nc.is_connected:
                await self._nc._send_unsubscribe(self._subscription._id)  # noqa: SLF001
                await flush(self._nc)
        finally:
            self._subscription._stop_processing()  # noqa: SLF001
            self._nc._remove_sub(self._subscription._id)  # noqa: SLF001


async def flush(nc: Client) -> None:
    """Return when the server has seen all that was sent before, and we all that it had sent.

    That is as long as the connection lasts. Unlike nats-py's own, it may be cancelled: there the
    answer that comes late finds a cancelled future, and ends the reading of the connection.
    """
    await lowlevel.checkpoint()  # or it overtakes what is buffered
    answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    with suppress(*GONE):
        await nc._send_ping(answered)  # noqa: SLF001
    while nc.is_connected and not answered.done():
        await asyncio.wait([answered], timeout=LOOKED_EVERY)


@asynccontextmanager
async def subscribed(
    nc: Client, subject: str, stopping: Event, queue: str = ""
) -> AsyncIterator[Intake]:
    """Subscribe, and come back when the server knows it, or soon after a stop was asked for.

    Of those who subscribe with the same queue, one gets a message. Raises NoServer.
    """
    try:
        subscription = await nc.subscribe(subject, queue)
    except GONE as error:
        raise NoServer(f"cannot subscribe to {subject}: {error}") from None
    intake = Intake(nc, subscription)
    async with unsubscribed(subscription):
        await unless(stopping, partial(flush, nc))
        intake.known = not stopping.is_set()
        yield intake
