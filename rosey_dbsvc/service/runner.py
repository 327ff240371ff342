"""One life of the service, from the subscription to the last commit."""

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

import anyio
from anyio import CancelScope, CapacityLimiter, lowlevel
from anyio.abc import TaskStatus
from nats.aio.client import Client

from rosey_dbsvc._unless import unless
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.errors import (
    ConnectionLost,
    ConnectionRefused,
    DbsvcError,
    NotADatabase,
    PermissionDenied,
)
from rosey_dbsvc.messaging.connection import describe, redact
from rosey_dbsvc.messaging.subscription import Intake, subscribed
from rosey_dbsvc.monitoring.discovery import Card, discoverable
from rosey_dbsvc.pipeline.dispatcher import Consumer
from rosey_dbsvc.pipeline.events import Events
from rosey_dbsvc.pipeline.queries import Answers
from rosey_dbsvc.pipeline.sources import Source
from rosey_dbsvc.pipeline.writer import Writer
from rosey_dbsvc.service.maintenance import maintained
from rosey_dbsvc.storage.storage import READERS, Storage

logger = logging.getLogger(__name__)


GOODBYE: Final = 1.0
"""How long an aborted run may take to refuse what was delivered, in seconds."""


class Serving:
    """Consumes, answers and commits until it is stopped, fails, or its host is cancelled.

    Only the wait for the stop can be cancelled. What works is shielded from the host, because a
    cancelled loop over messages loses one: it is ended instead, within `stop_timeout` seconds.
    """

    def __init__(
        self,
        prefix: str,
        source: Source,
        stop_timeout: float,
        maintain_every: float,
        counts: Counts,
    ) -> None:
        self.started = False
        self.finished = anyio.Event()
        self.failure: DbsvcError | None = None
        self._prefix = prefix
        self._source = source
        self._stop_timeout = stop_timeout
        self._maintain_every = maintain_every
        self._counts = counts
        self._subscribed = anyio.Event()
        self._stopping = anyio.Event()
        self._work_scope = CancelScope(shield=True)

    def stop(self) -> None:
        """Begin to stop: take nothing new, and finish what was delivered."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._work_scope.deadline = anyio.current_time() + self._stop_timeout

    def abort(self) -> None:
        """Stop now: what is not committed is abandoned, and counted."""
        self.stop()
        self._work_scope.cancel()

    def fail(self, error: DbsvcError) -> None:
        """Begin to stop, because of this."""
        self.failure = self.failure or error
        self.stop()

    async def serve(self, storage: Storage, nc: Client, task_status: TaskStatus[None]) -> None:
        """Serve until the stop, and finish; started means that the server knows of it."""
        async with anyio.create_task_group() as tasks:
            try:
                await unless(self._stopping, partial(self._source.prepare, nc))
                # Not `start`, which waits for a task that is shielded from it.
                tasks.start_soon(self._work, storage, nc, name="rosey-dbsvc work")
                await self._subscribed.wait()
                await lowlevel.checkpoint()  # or what has failed would be said to serve
                if isinstance(self.failure, PermissionDenied):
                    raise ConnectionRefused(str(self.failure))
                if not self._stopping.is_set():
                    self._say_serving(storage, nc)
                task_status.started()
                await self._stopping.wait()
            finally:
                self.stop()

    def _say_serving(self, storage: Storage, nc: Client) -> None:
        self.started = True
        logger.info("serving %s.> of %s into %s", self._prefix, server_of(nc), storage.name)
        if not storage.commits_batches:
            logger.info("the database commits each event by itself")
        if storage.cursor is not None and not storage.cursor.exact:
            logger.warning("after a crash, the last events may be applied twice")

    async def _work(self, storage: Storage, nc: Client) -> None:
        writing = CapacityLimiter(1)
        reading = CapacityLimiter(READERS) if storage.reads_apart else writing
        writer = Writer(storage.apply, self._counts, limiter=writing)
        events = Events(self._prefix, writer, self._counts)
        flowing = self._source.flowing(nc, storage, writer, events, self._stopping)
        try:
            with self._work_scope:
                async with anyio.create_task_group() as committing:
                    committing.start_soon(self._commit, writer, name="writer")
                    async with flowing as freshness, anyio.create_task_group() as tasks:
                        answers = Answers(
                            tasks, nc, self._prefix, storage, freshness, self._counts, reading
                        )
                        async with (
                            discoverable(nc, self._card(storage)),
                            maintained(storage, writing, self._maintain_every),
                        ):
                            await self._consume(Consumer(self._prefix, events, answers), nc)
                    writer.end()
        finally:
            self._subscribed.set()  # or, aborted before that, nobody would hear of it
            if self._source.forgets:
                self._counts.abandoned += self._counts.pending

    def _card(self, storage: Storage) -> Card:
        # The name of the file, not its path: strangers read it.
        metadata = {"database": Path(storage.name).name, **self._source.metadata}
        return Card(self._prefix, self._source.queue, metadata, self._counts)

    async def _commit(self, writer: Writer) -> None:
        try:
            await writer.run()
        except NotADatabase as error:  # those who ask are still to be told
            self.fail(error)

    async def _consume(self, consumer: Consumer, nc: Client) -> None:
        async with AsyncExitStack() as stack:
            intakes = [
                await stack.enter_async_context(
                    subscribed(nc, subject, self._stopping, self._source.queue)
                )
                for subject in self._source.subjects
            ]
            try:
                async with anyio.create_task_group() as loops:
                    for intake in intakes:
                        loops.start_soon(self._loop, consumer, intake, nc, name="consumer")
                    self._subscribed.set()
                    await self._stopping.wait()
                    for intake in intakes:
                        await intake.end()
            except BaseException:
                with anyio.move_on_after(GOODBYE, shield=True):
                    await self._abandon(consumer, intakes)
                raise

    async def _abandon(self, consumer: Consumer, intakes: Sequence[Intake]) -> None:
        """Count what was delivered and will not be read, and tell those who ask."""
        if self._source.forgets:
            delivered = sum(intake.delivered for intake in intakes)
            self._counts.abandoned += delivered - consumer.consumed - self._counts.dropped
        for intake in intakes:
            await intake.end()
            await consumer.refuse(intake.messages())

    async def _loop(self, consumer: Consumer, intake: Intake, nc: Client) -> None:
        await consumer.run(intake.messages())
        if not self._stopping.is_set():  # the messages ended unasked
            why = describe(nc.last_error) if nc.last_error else "closed by its owner"
            self.fail(ConnectionLost(f"the connection to NATS is closed for good: {why}"))


def server_of(nc: Client) -> str:
    """Return the URL of the server, without what opens the door."""
    return redact(nc.connected_url.geturl()) if nc.connected_url else "a server that is away"
