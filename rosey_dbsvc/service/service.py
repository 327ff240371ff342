"""DatabaseService: the service as a class, to be started and stopped."""

import os
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from types import TracebackType
from typing import Self

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus
from nats.aio.client import Client

from rosey_dbsvc._aio import in_thread
from rosey_dbsvc._text import Logger
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.credentials import NO_CREDENTIALS, Credentials
from rosey_dbsvc.errors import AlreadyServing, DbsvcError, sole_error
from rosey_dbsvc.messaging.connection import check_asyncio, connected
from rosey_dbsvc.messaging.nats_private import accept_undecodable
from rosey_dbsvc.pipeline.sources import CoreSource, Source, StreamSource
from rosey_dbsvc.service.runner import Runner
from rosey_dbsvc.settings import (
    DAY,
    DEFAULT_DB_PATH,
    DEFAULT_PREFIX,
    DEFAULT_STOP_TIMEOUT,
    Durable,
    Factory,
    check_prefix,
    check_seconds,
    check_url,
)
from rosey_dbsvc.storage.opening import opened

logger = Logger(__name__)


class DatabaseService:
    """Applies the events that a chat bot publishes on NATS to a database, and answers queries.

    Run it as a task of the host, which ends when the service has stopped::

        async with anyio.create_task_group() as tg:
            await tg.start(service.serve)

    or as a context (`async with service`), or by `await service.start()` and `await
    service.stop()` in one task. However it is stopped, by `stop`, the end of the context or
    cancellation, it first applies the delivered events and answers the delivered queries, for at
    most `stop_timeout` seconds.
    """

    def __init__(
        self,
        nats_client: Client | str | Sequence[str],
        db_path: str | os.PathLike[str] | object = DEFAULT_DB_PATH,
        *,
        prefix: str = DEFAULT_PREFIX,
        stop_timeout: float = DEFAULT_STOP_TIMEOUT,
        maintain_every: float = DAY,
        database: str | Factory = "",
        durable: Durable | None = None,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        """Take a connection, which stays open, or URLs; and a path, or a BotDatabase object.

        `database` opens the path: a callable or "MODULE:ATTRIBUTE", by default our BotDatabase. An
        object with the methods of a BotDatabase is adopted, and stays open. In our own database old
        rows are deleted at the start and every `maintain_every` seconds; 0 is never. With `durable`
        events are read from a JetStream stream, so that none is lost or applied twice.
        `credentials` are for URLs. Raises InvalidSettings.
        """
        self.prefix = check_prefix(prefix)
        self.stop_timeout = check_seconds(stop_timeout, "stop_timeout")
        self.maintain_every = check_seconds(maintain_every, "maintain_every")
        self.counts = Counts()
        """Counters since the last start."""
        self._nats = nats_client
        self._db_path = db_path
        self._database = database
        self._durable = durable
        self._credentials = credentials
        self._runner: Runner | None = None
        self._tasks: TaskGroup | None = None
        self._starter = 0

    async def serve(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Serve until stopped. Started means that the server has the subscription.

        Raises CannotStart, ConnectionLost, PermissionDenied, StreamChanged or NotADatabase.
        """
        check_asyncio()
        if self._runner is not None:
            raise AlreadyServing
        self.counts = Counts()
        runner = self._runner = Runner(
            self.prefix, self._source(), self.stop_timeout, self.maintain_every, self.counts
        )
        try:
            with sole_error():
                opening = opened(self._db_path, self._database, self._durable)
                async with in_thread(opening) as storage, self._connected(runner) as nc:
                    await runner.run(storage, nc, task_status)
        finally:
            self._runner = None
            runner.finished.set()
            if runner.started or self.counts.applied:
                self._log_stopped()
        if runner.failure is not None:
            raise runner.failure

    async def _serve_and_log(self, *, task_status: TaskStatus[None]) -> None:
        # The host is cancelled by a failure, and may never look at the exception.
        try:
            await self.serve(task_status=task_status)
        except DbsvcError as error:
            logger.critical("%s", error)
            raise

    def _source(self) -> Source:
        if self._durable is None:
            return CoreSource(self.prefix)
        return StreamSource(self.prefix, self._durable, self.counts)

    def _connected(self, runner: Runner) -> AbstractAsyncContextManager[Client]:
        if isinstance(self._nats, Client):
            accept_undecodable(self._nats)
            return nullcontext(self._nats)
        servers = [self._nats] if isinstance(self._nats, str) else self._nats
        urls = [*map(check_url, servers)]
        return connected(urls, self.counts, runner.fail, self._credentials)

    def _log_stopped(self) -> None:
        counts = self.counts
        if counts.abandoned:
            logger.error(
                "stopped too early: %(count)d delivered messages are lost",
                count=counts.abandoned,
            )
        if counts.dropped:
            logger.warning("%(count)d messages were dropped", count=counts.dropped)
        logger.info(
            "stopped: %(applied)d events applied, %(rejected)d rejected, %(answered)d queries "
            "answered",
            applied=counts.applied,
            rejected=counts.rejected,
            answered=counts.answered,
        )

    def request_stop(self) -> None:
        """Begin to stop, and return at once."""
        if self._runner is not None:
            self._runner.stop()

    def abort(self) -> None:
        """Stop at once. Events that are not committed are counted as abandoned."""
        if self._runner is not None:
            self._runner.abort()

    async def start(self) -> None:
        """Start in the background; return when the service serves. Call `stop` in the same task.

        A cancel scope of AnyIO that is open here must be open at `stop`, as with any context.
        """
        if self._runner is not None:
            logger.warning("DatabaseService already running")
            return
        tasks = anyio.create_task_group()
        await tasks.__aenter__()
        try:
            await tasks.start(self._serve_and_log, name="rosey-dbsvc")
        except BaseException as error:
            with sole_error():
                await tasks.__aexit__(type(error), error, error.__traceback__)
            raise
        self._tasks, self._starter = tasks, anyio.get_current_task().id

    async def stop(self) -> None:
        """Stop; return when all delivered events are committed and everything is closed."""
        await self.__aexit__(None, None, None)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        runner = self._runner
        self.request_stop()
        if self._tasks is not None and self._starter == anyio.get_current_task().id:
            tasks, self._tasks = self._tasks, None
            with sole_error():
                await tasks.__aexit__(kind, error, traceback)
        elif runner is not None:
            await runner.finished.wait()
