"""One run of the service, from the subscription to the last commit."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

import anyio
from anyio import CancelScope, CapacityLimiter, lowlevel
from anyio.abc import TaskStatus
from nats.aio.client import Client

from rosey_dbsvc import errors
from rosey_dbsvc._aio import run_until
from rosey_dbsvc._text import Logger
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.messaging.connection import server_url
from rosey_dbsvc.messaging.connection_events import error_text
from rosey_dbsvc.messaging.subscription import SubscriptionReader, subscribed
from rosey_dbsvc.monitoring.discovery import ServiceInfo, discoverable
from rosey_dbsvc.pipeline.dispatcher import Dispatcher
from rosey_dbsvc.pipeline.queries import QueryRunner
from rosey_dbsvc.pipeline.sources import Source
from rosey_dbsvc.pipeline.writer import Writer
from rosey_dbsvc.service.maintenance import maintained
from rosey_dbsvc.storage.protocol import Storage

logger = Logger(__name__)

ABORT_TIMEOUT: Final = 1.0
"""Time limit for refusing the delivered queries after an abort, in seconds."""


class Runner:
    """Consumes, answers and commits until it is stopped, fails, or its host is cancelled.

    The host can only cancel the wait for the stop. The work is shielded, because a cancelled loop
    over messages loses one: it is ended instead, within `stop_timeout` seconds.
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
        self.failure: errors.DbsvcError | None = None
        self._prefix = prefix
        self._source = source
        self._stop_timeout = stop_timeout
        self._maintain_every = maintain_every
        self._counts = counts
        self._subscribed = anyio.Event()
        self._stopping = anyio.Event()
        self._work_scope = CancelScope(shield=True)

    def stop(self) -> None:
        """Begin to stop: receive nothing new, and finish what was delivered."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._work_scope.deadline = anyio.current_time() + self._stop_timeout

    def abort(self) -> None:
        """Stop at once. Events that are not committed are counted as abandoned."""
        self.stop()
        self._work_scope.cancel()

    def fail(self, error: errors.DbsvcError) -> None:
        """Begin to stop because of an error."""
        self.failure = self.failure or error
        self.stop()

    async def run(self, storage: Storage, nc: Client, task_status: TaskStatus[None]) -> None:
        """Run until the stop is complete. Started means that the server has the subscription."""
        async with anyio.create_task_group() as tasks:
            try:
                await run_until(self._stopping, partial(self._source.prepare, nc))
                # Not `start`: a shielded task would never hear of the cancellation.
                tasks.start_soon(self._work, storage, nc, name="rosey-dbsvc work")
                await self._subscribed.wait()
                await lowlevel.checkpoint()  # so that an error of the work is raised first
                if isinstance(self.failure, errors.PermissionDenied):
                    raise errors.ConnectionRefused(str(self.failure))
                if not self._stopping.is_set():
                    self._log_started(storage, nc)
                task_status.started()
                await self._stopping.wait()
            finally:
                self.stop()

    def _log_started(self, storage: Storage, nc: Client) -> None:
        self.started = True
        logger.info(
            "serving %(subject)s on %(url)s with the database %(database)s",
            subject=f"{self._prefix}.>",
            url=server_url(nc),
            database=storage.name,
        )
        if not storage.commits_batches:
            logger.warning(
                "%(database)s commits each event by itself, at least once",
                database=storage.name,
            )

    async def _work(self, storage: Storage, nc: Client) -> None:
        writing = CapacityLimiter(1)
        reading = CapacityLimiter(storage.readers) if storage.readers else writing
        writer = Writer(storage.apply, self._counts, limiter=writing)
        dispatcher = Dispatcher(self._prefix, writer, self._counts)
        events = self._source.events_to(nc, storage, writer, dispatcher, self._stopping)
        try:
            with self._work_scope:
                async with anyio.create_task_group() as committing:
                    committing.start_soon(self._commit, writer, name="writer")
                    async with events as barrier, anyio.create_task_group() as tasks:
                        queries = QueryRunner(
                            tasks, nc, self._prefix, storage, barrier, self._counts, reading
                        )
                        async with (
                            discoverable(nc, self._info(storage)),
                            maintained(storage, writing, self._maintain_every),
                        ):
                            await self._consume(dispatcher, queries, nc)
                    writer.end()
        finally:
            self._subscribed.set()  # an abort may come before it
            if self._source.loses_unapplied:
                self._counts.abandoned += self._counts.pending

    def _info(self, storage: Storage) -> ServiceInfo:
        # The name of the file, not its path: untrusted clients read it.
        metadata = {"database": Path(storage.name).name, **self._source.metadata}
        return ServiceInfo(self._prefix, self._source.queue, metadata, self._counts)

    async def _commit(self, writer: Writer) -> None:
        try:
            await writer.run()
        except errors.NotADatabase as error:  # queries are still answered
            self.fail(error)

    async def _consume(self, dispatcher: Dispatcher, queries: QueryRunner, nc: Client) -> None:
        async with AsyncExitStack() as stack:
            subscriptions = [
                await stack.enter_async_context(
                    subscribed(nc, subject, self._stopping, self._source.queue)
                )
                for subject in self._source.subjects
            ]
            try:
                async with anyio.create_task_group() as loops:
                    for each in subscriptions:
                        loops.start_soon(
                            self._dispatch, dispatcher, queries, each, nc, name="dispatcher"
                        )
                    self._subscribed.set()
                    await self._stopping.wait()
                    for each in subscriptions:
                        await each.end()
            except BaseException:
                with anyio.move_on_after(ABORT_TIMEOUT, shield=True):
                    await self._abandon(dispatcher, queries, subscriptions)
                raise

    async def _abandon(
        self,
        dispatcher: Dispatcher,
        queries: QueryRunner,
        subscriptions: Sequence[SubscriptionReader],
    ) -> None:
        """Count what was delivered and will not be applied, and refuse the queries."""
        if self._source.loses_unapplied:
            delivered = sum(each.delivered for each in subscriptions)
            self._counts.abandoned += delivered - dispatcher.dispatched - self._counts.dropped
        for each in subscriptions:
            await each.end()
            await dispatcher.refuse(each.messages(), queries)

    async def _dispatch(
        self,
        dispatcher: Dispatcher,
        queries: QueryRunner,
        subscription: SubscriptionReader,
        nc: Client,
    ) -> None:
        await dispatcher.run(subscription.messages(), queries)
        if not self._stopping.is_set():  # the messages ended by themselves
            reason = error_text(nc.last_error) if nc.last_error else "closed by its owner"
            self.fail(errors.ConnectionLost(f"the connection to NATS is closed for good: {reason}"))
