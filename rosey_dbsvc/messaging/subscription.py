"""A subscription whose messages can be ended without losing one."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from anyio import Event
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from rosey_dbsvc._aio import run_until
from rosey_dbsvc.errors import NoServer
from rosey_dbsvc.messaging import nats_private
from rosey_dbsvc.messaging.connection import unsubscribed

MAX_TAKEN: Final = 256  # messages taken from the queue before other tasks can run
LONG_QUEUE: Final = 32_768
MAX_TAKEN_LONG: Final = 4096
"""Messages taken if the queue is long: more than one read of the socket brings."""


class SubscriptionReader:
    """The messages of a subscription, in order."""

    def __init__(self, nc: Client, subscription: Subscription, *, is_known: bool) -> None:
        self._nc = nc
        self._subscription = subscription
        self._is_known = is_known

    async def messages(self) -> AsyncGenerator[Msg]:
        """Yield the messages. Stop the loop with `end`: if cancelled, it loses one.

        nats-py's iterator makes a task for each message. Here it is used for the first of several
        queued messages only.
        """
        async for msg in self._subscription.messages:
            yield msg
            queued = self._subscription.pending_msgs
            for _ in range(MAX_TAKEN_LONG if queued > LONG_QUEUE else min(queued, MAX_TAKEN)):
                yield nats_private.take_queued(self._subscription)

    @property
    def delivered(self) -> int:
        """Number of messages delivered, including dropped ones."""
        return self._subscription.delivered

    async def end(self) -> None:
        """Receive nothing new; `messages` ends after what was delivered."""
        await nats_private.end_subscription(self._nc, self._subscription, is_known=self._is_known)


@asynccontextmanager
async def subscribed(
    nc: Client, subject: str, stopping: Event, queue: str = ""
) -> AsyncIterator[SubscriptionReader]:
    """Subscribe; yield when the server has the subscription, or when `stopping` is set.

    Of the subscribers with the same queue group, one gets a message. Raises NoServer.
    """
    try:
        subscription = await nc.subscribe(subject, queue)
    except nats_private.CONNECTION_ERRORS as error:
        raise NoServer(f"cannot subscribe to {subject}: {error}") from None
    async with unsubscribed(subscription):
        await run_until(stopping, partial(nats_private.flush, nc))
        yield SubscriptionReader(nc, subscription, is_known=not stopping.is_set())
