"""Runs queries, each in a task of its own, so that a slow one delays no other."""

from functools import partial
from time import perf_counter_ns
from typing import Final

import anyio
from anyio import CapacityLimiter, get_cancelled_exc_class, to_thread
from anyio.abc import TaskGroup
from nats.aio.client import Client

from rosey_dbsvc._text import Logger, describe, shorten
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.errors import DatabaseFailed, DbsvcError, ShuttingDown
from rosey_dbsvc.messaging.connection import may_reply_to
from rosey_dbsvc.messaging.nats_private import CONNECTION_ERRORS
from rosey_dbsvc.operations import codec
from rosey_dbsvc.operations.base import Query
from rosey_dbsvc.pipeline.barriers import Barrier, Headers, Wait
from rosey_dbsvc.storage.protocol import Storage

logger = Logger(__name__)

MAX_RUNNING: Final = 1000
"""Queries that run at once. The next one waits, and with it the messages behind it."""
MAX_UNSENT: Final = 16  # replies that are in memory at once, since each may be large
CLOSE_TIMEOUT: Final = 1.0


class QueryRunner:
    """Answers queries, each after the events that were published before it."""

    def __init__(
        self,
        tasks: TaskGroup,
        nc: Client,
        prefix: str,
        storage: Storage,
        barrier: Barrier,
        counts: Counts,
        limiter: CapacityLimiter,
        *,
        max_running: int = MAX_RUNNING,
    ) -> None:
        """Take a limiter of the number of reading threads, among others."""
        self._tasks = tasks
        self._nc = nc
        self._prefix = prefix
        self._storage = storage
        self._barrier = barrier
        self._counts = counts
        self._limiter = limiter
        self._running = anyio.Semaphore(max_running, fast_acquire=True)
        self._unsent = anyio.Semaphore(MAX_UNSENT, fast_acquire=True)

    async def start(self, reply: str, name: str, query: Query | DbsvcError) -> None:
        """Start to answer a query, or an invalid one with its error. Wait if too many run."""
        await self._running.acquire()
        self._tasks.start_soon(
            self._answer, reply, name, query, self._barrier.from_now(), name=f"query {name}"
        )

    async def _answer(self, reply: str, name: str, query: Query | DbsvcError, wait: Wait) -> None:
        counts, begun = self._counts.operations[name], perf_counter_ns()
        counts.requests += 1
        try:
            if isinstance(query, DbsvcError):
                raise query
            headers = await wait()
            async with self._unsent:
                await self._send(reply, await self._encoded_rows(query, headers), headers)
            self._counts.answered += 1
        except DbsvcError as error:
            counts.fail(str(error))
            await self.refuse(reply, error)
        except get_cancelled_exc_class():
            with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await self.refuse(reply, ShuttingDown())
            raise
        finally:
            passed = perf_counter_ns() - begun
            counts.processing_time += passed
            self._counts.query_times.observe(passed / 1e9)
            self._running.release()

    async def _encoded_rows(self, query: Query, headers: Headers | None) -> bytes:
        max_bytes = self._nc.max_payload - codec.size_of_headers(headers or {})
        found = await to_thread.run_sync(self._read, query, max_bytes, limiter=self._limiter)
        if isinstance(found, bytes):
            return found
        if isinstance(found, DbsvcError):
            raise found
        logger.error(
            "query failed: %(operation)s: %(reason)s",
            operation=query.name,
            reason=describe(found),
        )
        raise DatabaseFailed from found

    def _read(self, query: Query, max_bytes: int) -> bytes | Exception:
        """Return the reply's body, or the exception without its traceback.

        The traceback would keep the rows in memory for as long as the exception lives.
        """
        encode = partial(codec.encode_rows, max_bytes=max_bytes)
        try:
            return self._storage.answer(query, encode)
        except Exception as error:  # noqa: BLE001  a database may raise anything
            return error.with_traceback(None)

    async def refuse(self, reply: str, error: DbsvcError) -> None:
        """Reply without rows, and with headers that say why."""
        self._counts.refused += 1
        await self._send(reply, codec.NO_ROWS, codec.error_headers(error))

    async def _send(self, reply: str, body: bytes, headers: Headers | None = None) -> None:
        # Not `respond`, which would send the headers of the request back.
        if not may_reply_to(reply, self._prefix):
            logger.warning(
                "no reply sent to %(reply)s: that is a subject for requests",
                reply=shorten(reply),
            )
            return
        try:
            await self._nc.publish(reply, body, headers=headers)
        except CONNECTION_ERRORS as error:
            logger.warning("a reply was lost: %(reason)s", reason=describe(error))
