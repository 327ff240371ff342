"""Sources of events and queries: core NATS, or a JetStream stream."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import anyio
from anyio import Event
from nats.aio.client import Client

from rosey_dbsvc._aio import Backoff, LogThrottle, run_until
from rosey_dbsvc._text import Logger
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.errors import Unavailable
from rosey_dbsvc.messaging.stream import Stream
from rosey_dbsvc.operations import QUERIES
from rosey_dbsvc.pipeline.barriers import Barrier, CommitBarrier, StreamBarrier
from rosey_dbsvc.pipeline.dispatcher import Dispatcher
from rosey_dbsvc.pipeline.follower import Follower
from rosey_dbsvc.pipeline.writer import Writer
from rosey_dbsvc.settings import Durable
from rosey_dbsvc.storage.protocol import Storage

logger = Logger(__name__)

QUEUE_GROUP: Final = "rosey-dbsvc"  # one of the services that follow a stream answers a query
POLL_INTERVAL: Final = 0.5


class CoreSource:
    """One subscription, because NATS keeps the order of messages only within a subscription."""

    queue = ""  # queue group of the subscriptions
    loses_unapplied = True  # whether events that were delivered and not applied are lost

    def __init__(self, prefix: str) -> None:
        self.metadata = {"mode": "core"}  # for service discovery
        self.subjects: tuple[str, ...] = (f"{prefix}.>",)

    async def prepare(self, nc: Client) -> None:
        """Do nothing."""

    @asynccontextmanager
    async def events_to(
        self, _nc: Client, _storage: Storage, writer: Writer, _to: Dispatcher, _stopping: Event
    ) -> AsyncIterator[Barrier]:
        """Yield the barrier: events come with the subscription."""
        yield CommitBarrier(writer)


class StreamSource:
    """Events from a stream, each once; queries from a queue group."""

    queue = QUEUE_GROUP
    loses_unapplied = False

    def __init__(self, prefix: str, durable: Durable, counts: Counts) -> None:
        self.subjects = tuple(f"{prefix}.{query.name}" for query in QUERIES)
        self.metadata = {"mode": "durable", "stream": durable.stream}
        self._prefix = prefix
        self._durable = durable
        self._counts = counts
        self._stream: Stream | None = None

    async def prepare(self, nc: Client) -> None:
        """Check or create the stream. Raises a CannotStart."""
        stream = self._stream = Stream(nc, self._prefix, self._durable)
        backoff = Backoff("waiting for JetStream", "JetStream responds")
        while True:
            try:
                await stream.prepare()
            except Unavailable as error:
                await backoff.wait(str(error))
            else:
                backoff.succeeded()
                return

    @asynccontextmanager
    async def events_to(
        self, nc: Client, storage: Storage, writer: Writer, dispatcher: Dispatcher, stopping: Event
    ) -> AsyncIterator[Barrier]:
        """Follow the stream; yield the barrier when the database has caught up."""
        assert self._stream is not None  # noqa: S101  prepared before
        following_stream = following(nc, self._stream, storage, writer, dispatcher, self._counts)
        async with following_stream as follower:
            await run_until(stopping, partial(_catch_up, follower, writer))
            stream = self._durable.stream
            yield StreamBarrier(nc, self._prefix, stream, writer, self._counts, follower.clustered)


Source = CoreSource | StreamSource


@asynccontextmanager
async def following(
    nc: Client,
    stream: Stream,
    storage: Storage,
    writer: Writer,
    dispatcher: Dispatcher,
    counts: Counts,
) -> AsyncIterator[Follower]:
    """Follow the stream while in the context."""
    assert storage.cursor is not None  # noqa: S101  opened in durable mode
    follower = Follower(nc, stream, storage.cursor, writer, dispatcher, counts)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follower.run, name="follower")
        yield follower
        tasks.cancel_scope.cancel()


async def _catch_up(follower: Follower, writer: Writer) -> None:
    await follower.begun.wait()
    throttle = LogThrottle()
    throttle.allows()  # the follower has just logged how far behind it is
    while writer.reached < follower.target and not writer.failed:
        with anyio.move_on_after(POLL_INTERVAL):  # the target may become lower
            await writer.wait_reached(follower.target)
        if throttle.allows():
            logger.info(
                "catching up with the stream: %(count)d events behind",
                count=follower.target - writer.reached,
            )
