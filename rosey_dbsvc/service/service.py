"""The service as a bot's own code uses it: opened, started, stopped and closed."""

import logging
import os
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from types import TracebackType
from typing import Self

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus
from nats.aio.client import Client

from rosey_dbsvc._threads import in_threads
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.credentials import Credentials
from rosey_dbsvc.errors import AlreadyServing, DbsvcError, sole_error
from rosey_dbsvc.messaging.connection import NOBODY, check_asyncio, connected
from rosey_dbsvc.pipeline.sources import CoreSource, Source, StreamSource
from rosey_dbsvc.service.runner import Serving
from rosey_dbsvc.settings import (
    DAILY,
    DEFAULT_DB_PATH,
    DEFAULT_PREFIX,
    DEFAULT_STOP_TIMEOUT,
    Durable,
    Settings,
    check_prefix,
    check_seconds,
    check_url,
)
from rosey_dbsvc.storage.opening import Factory, opened
from rosey_dbsvc.storage.sqlite import BotDatabase

logger = logging.getLogger(__name__)


class DatabaseService:
    """Applies the events of a chat bot, published on NATS, to a database, and answers its queries.

    Either one of the host's tasks, which ends when the service has stopped::

        async with anyio.create_task_group() as tg:
            await tg.start(service.serve)

    or a context (`async with service`), or the pair `await service.start()` and `await
    service.stop()`, called in one task. However it is asked to stop, by `stop`, by the end of the
    context or by cancellation, it first applies what was delivered and answers what was asked, for
    at most `stop_timeout` seconds.
    """

    def __init__(
        self,
        nats_client: Client | str | Sequence[str],
        db_path: str | os.PathLike[str] | object = DEFAULT_DB_PATH,
        *,
        prefix: str = DEFAULT_PREFIX,
        stop_timeout: float = DEFAULT_STOP_TIMEOUT,
        maintain_every: float = DAILY,
        factory: Factory = BotDatabase,
        durable: Durable | None = None,
        credentials: Credentials = NOBODY,
    ) -> None:
        """Take a connection, which is left open, or URLs; and a path, or a BotDatabase object.

        `factory` opens the path. An object is adopted if it has the methods of a BotDatabase, and
        is left open. From a BotDatabase of this package what is old is deleted at the start, and
        then every `maintain_every` seconds; 0 is never. `durable` reads the events from a JetStream
        stream, so that none is lost and none is applied twice. `credentials` are for the servers of
        URLs. Raises InvalidSettings for a prefix that cannot begin a subject.
        """
        self.prefix = check_prefix(prefix)
        self.stop_timeout = stop_timeout
        self.maintain_every = check_seconds(maintain_every, "maintain_every")
        self.counts = Counts()
        """What the service has done since it was started last."""
        self._nats = nats_client
        self._database = db_path
        self._factory = factory
        self._durable = durable
        self._credentials = credentials
        self._serving: Serving | None = None
        self._group: TaskGroup | None = None
        self._starter = 0

    @classmethod
    def of(cls, settings: Settings, urls: Sequence[str], factory: Factory) -> Self:
        """Make one of what an operator has set, for these servers."""
        return cls(
            urls,
            settings.db_path,
            prefix=settings.prefix,
            stop_timeout=settings.stop_timeout,
            maintain_every=settings.maintain_every,
            factory=factory,
            durable=settings.durable,
            credentials=settings.credentials,
        )

    async def serve(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Serve until asked to stop; started means that the server knows the subscription.

        Raises a CannotStart, ConnectionLost, PermissionDenied or NotADatabase, each in one line.
        """
        check_asyncio()
        if self._serving is not None:
            raise AlreadyServing
        self.counts = Counts()
        serving = self._serving = Serving(
            self.prefix, self._source(), self.stop_timeout, self.maintain_every, self.counts
        )
        try:
            with sole_error():
                opening = opened(self._database, self._factory, self._durable)
                async with in_threads(opening) as storage, self._connected(serving) as nc:
                    await serving.serve(storage, nc, task_status)
        finally:
            self._serving = None
            serving.finished.set()
            if serving.started or self.counts.applied:
                self._say_stopped()
        if serving.failure is not None:
            raise serving.failure

    async def _serve_aloud(self, *, task_status: TaskStatus[None]) -> None:
        # The host learns of a failure by being cancelled, and may never ask why.
        try:
            await self.serve(task_status=task_status)
        except DbsvcError as error:
            logger.critical("%s", error)
            raise

    def _source(self) -> Source:
        if self._durable is None:
            return CoreSource(self.prefix)
        return StreamSource(self.prefix, self._durable, self.counts)

    def _connected(self, serving: Serving) -> AbstractAsyncContextManager[Client]:
        if isinstance(self._nats, Client):
            return nullcontext(self._nats)
        servers = [self._nats] if isinstance(self._nats, str) else self._nats
        urls = [*map(check_url, servers)]
        return connected(urls, self.counts, serving.fail, self._credentials)

    def _say_stopped(self) -> None:
        if self.counts.abandoned:
            logger.error(
                "stopped too early for %d delivered messages: they are lost", self.counts.abandoned
            )
        if self.counts.dropped:
            logger.warning("%d messages were dropped", self.counts.dropped)
        logger.info(
            "stopped: %d events applied, %d rejected, %d queries answered",
            self.counts.applied,
            self.counts.rejected,
            self.counts.answered,
        )

    def ask_to_stop(self) -> None:
        """Begin to stop, and return at once."""
        if self._serving is not None:
            self._serving.stop()

    def abort(self) -> None:
        """Stop now: what is not committed is abandoned, and counted."""
        if self._serving is not None:
            self._serving.abort()

    async def start(self) -> None:
        """Start in the background; return when the service serves. To be paired with `stop`.

        A cancel scope of AnyIO's that is open here has to be open at `stop`, as with any context.
        """
        if self._serving is not None:
            logger.warning("DatabaseService already running")
            return
        group = anyio.create_task_group()
        await group.__aenter__()
        try:
            await group.start(self._serve_aloud, name="rosey-dbsvc")
        except BaseException as error:
            with sole_error():
                await group.__aexit__(type(error), error, error.__traceback__)
            raise
        self._group, self._starter = group, anyio.get_current_task().id

    async def stop(self) -> None:
        """Stop; return when all that was delivered is committed and everything is closed."""
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
        serving = self._serving
        self.ask_to_stop()
        if self._group is not None and self._starter == anyio.get_current_task().id:
            group, self._group = self._group, None
            with sole_error():
                await group.__aexit__(kind, error, traceback)
        elif serving is not None:
            await serving.finished.wait()
