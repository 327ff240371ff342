"""Where events and queries come from: core NATS, or a stream and a queue group."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Final, Protocol

import anyio
from anyio import Event
from nats.aio.client import Client

from rosey_dbsvc._patience import Patience
from rosey_dbsvc._unless import unless
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.errors import Unavailable
from rosey_dbsvc.messaging.stream import Stream
from rosey_dbsvc.operations.base import QUERIES
from rosey_dbsvc.pipeline.barriers import Delivered, Freshness, Horizon
from rosey_dbsvc.pipeline.events import Events
from rosey_dbsvc.pipeline.follower import Follower
from rosey_dbsvc.pipeline.writer import Writer
from rosey_dbsvc.settings import Durable
from rosey_dbsvc.storage.storage import Storage

logger = logging.getLogger(__name__)

QUEUE: Final = "rosey-dbsvc"
"""Of several services with the same stream, one answers a query."""
LOOKED_EVERY: Final = 0.5
SAID_EVERY: Final = 10.0
"""How often the log says how far a service has caught up, in seconds."""


class Source(Protocol):
    """What differs between the modes."""

    queue: str
    metadata: dict[str, str]
    """What those are told who look for services."""
    forgets: bool
    """Whether what was delivered, and is not applied, is lost."""

    @property
    def subjects(self) -> Sequence[str]:
        """What is subscribed to."""

    async def prepare(self, nc: Client) -> None:
        """See that there is something to read from. May take long, and be cancelled."""

    def flowing(
        self, nc: Client, storage: Storage, writer: Writer, events: Events, stopping: Event
    ) -> AbstractAsyncContextManager[Freshness]:
        """Have events flow to the writer; come back when queries may be answered."""


class CoreSource:
    """One subscription: NATS keeps the order of a connection's messages only within it."""

    queue = ""
    forgets = True

    def __init__(self, prefix: str) -> None:
        self.metadata = {"mode": "core"}
        self.subjects = (f"{prefix}.>",)

    async def prepare(self, nc: Client) -> None:
        """Do nothing."""

    @asynccontextmanager
    async def flowing(
        self, _nc: Client, _storage: Storage, writer: Writer, _events: Events, _stopping: Event
    ) -> AsyncIterator[Freshness]:
        """Do nothing: the consumer of the subscription takes the events."""
        yield Delivered(writer)


class StreamSource:
    """Events from a stream, each once; queries from a queue group, in no order with them."""

    queue = QUEUE
    forgets = False

    def __init__(self, prefix: str, durable: Durable, counts: Counts) -> None:
        self.subjects = tuple(f"{prefix}.{query.name}" for query in QUERIES)
        self.metadata = {"mode": "durable", "stream": durable.stream}
        self._prefix = prefix
        self._durable = durable
        self._counts = counts
        self._stream: Stream | None = None

    async def prepare(self, nc: Client) -> None:
        """See that the stream is there, as it is wanted. Raises a CannotStart if it cannot be."""
        stream = self._stream = Stream(nc, self._prefix, self._durable)
        patience = Patience("waiting for JetStream", "JetStream answers")
        while True:
            try:
                await stream.prepare()
            except Unavailable as error:
                await patience.wait(str(error))
            else:
                patience.over()
                return

    @asynccontextmanager
    async def flowing(
        self, nc: Client, storage: Storage, writer: Writer, events: Events, stopping: Event
    ) -> AsyncIterator[Freshness]:
        """Follow the stream; come back when the database has come up with it."""
        assert self._stream is not None  # noqa: S101  prepared before
        async with following(nc, self._stream, storage, writer, events) as follower:
            await unless(stopping, partial(_catch_up, follower, writer))
            stream = self._durable.stream
            yield Horizon(nc, self._prefix, stream, writer, self._counts, follower.clustered)


@asynccontextmanager
async def following(
    nc: Client, stream: Stream, storage: Storage, writer: Writer, events: Events
) -> AsyncIterator[Follower]:
    """Follow the stream while in the context."""
    assert storage.cursor is not None  # noqa: S101  opened with the same settings
    follower = Follower(nc, stream, storage.cursor, writer, events)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follower.run, name="follower")
        yield follower
        tasks.cancel_scope.cancel()


async def _catch_up(follower: Follower, writer: Writer) -> None:
    await follower.begun.wait()
    said = anyio.current_time()
    while writer.reached < follower.target and not writer.failed:
        with anyio.move_on_after(LOOKED_EVERY):  # the target may come nearer
            await writer.wait_reached(follower.target)
        if anyio.current_time() - said > SAID_EVERY:
            said = anyio.current_time()
            behind = follower.target - writer.reached
            logger.info("catching up with the stream, %d events behind", behind)
