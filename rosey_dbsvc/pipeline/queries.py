"""Replies: each query is a task of its own, so that a slow one holds up nobody."""

import logging
from functools import partial
from time import perf_counter_ns
from typing import Final

import anyio
from anyio import CapacityLimiter, get_cancelled_exc_class, to_thread
from anyio.abc import TaskGroup
from nats.aio.client import Client

from rosey_dbsvc.counters import Counts
from rosey_dbsvc.errors import DatabaseFailed, DbsvcError, ShuttingDown
from rosey_dbsvc.messaging.connection import GONE, is_for_answers
from rosey_dbsvc.operations import codec
from rosey_dbsvc.operations.base import Query
from rosey_dbsvc.operations.codec import shorten
from rosey_dbsvc.pipeline.barriers import Freshness, Headers, Wait
from rosey_dbsvc.storage import sqlite_errors as faults
from rosey_dbsvc.storage.storage import Storage

logger = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 1000
"""How many queries are in work before the next one has to wait, and what is behind it."""
MOST_UNSENT: Final = 16
"""How many answers are read before the connection has taken one of them: they may be large."""
GOODBYE: Final = 1.0


class Answers:
    """Answers queries, each after the events that came before it."""

    def __init__(
        self,
        tasks: TaskGroup,
        nc: Client,
        prefix: str,
        storage: Storage,
        freshness: Freshness,
        counts: Counts,
        limiter: CapacityLimiter,
    ) -> None:
        """Take what the answers come from; the limiter bounds the reading threads."""
        self._tasks = tasks
        self._nc = nc
        self._prefix = prefix
        self._storage = storage
        self._freshness = freshness
        self._counts = counts
        self._limiter = limiter
        self._room = anyio.Semaphore(MOST_AT_ONCE, fast_acquire=True)
        self._unsent = anyio.Semaphore(MOST_UNSENT, fast_acquire=True)

    async def start(self, reply: str, name: str, query: Query | DbsvcError) -> None:
        """Begin to answer the query, or to say what is wrong with it; wait if too many are."""
        await self._room.acquire()
        self._tasks.start_soon(
            self._answer, reply, name, query, self._freshness.from_now(), name="answer"
        )

    async def _answer(self, reply: str, name: str, query: Query | DbsvcError, wait: Wait) -> None:
        tally, begun = self._counts.operations[name], perf_counter_ns()
        tally.requests += 1
        try:
            if isinstance(query, DbsvcError):
                raise query
            headers = await wait()
            async with self._unsent:
                await self._send(reply, await self._rows(query), headers)
            self._counts.answered += 1
        except DbsvcError as error:
            tally.fail(str(error))
            await self.refuse(reply, error)
        except get_cancelled_exc_class():
            with anyio.move_on_after(GOODBYE, shield=True):
                await self.refuse(reply, ShuttingDown())
            raise
        finally:
            passed = perf_counter_ns() - begun
            tally.processing_time += passed
            self._counts.query_times.observe(passed / 1e9)
            self._room.release()

    async def _rows(self, query: Query) -> bytes:
        found = await to_thread.run_sync(self._read, query, limiter=self._limiter)
        if isinstance(found, bytes):
            return found
        if isinstance(found, DbsvcError):
            raise found
        logger.error("%s failed: %s", query.name, faults.describe(found))
        raise DatabaseFailed from found

    def _read(self, query: Query) -> bytes | Exception:
        """Return the reply or, without what was read for it, what went wrong.

        Raised, an exception would hold on to those rows for as long as it lives itself.
        """
        encode = partial(codec.encode, most=self._nc.max_payload)
        try:
            return self._storage.answer(query, encode)
        except Exception as error:  # noqa: BLE001  a database may raise anything
            return error.with_traceback(None)

    async def refuse(self, reply: str, error: DbsvcError) -> None:
        """Answer with no rows, and with headers that say why."""
        self._counts.refused += 1
        await self._send(reply, codec.NO_ROWS, codec.error_headers(error))

    async def _send(self, reply: str, body: bytes, headers: Headers | None = None) -> None:
        # Not `respond`, which sends the headers of the request back.
        if not is_for_answers(reply, self._prefix):
            logger.warning("not answered, since that would be a request: %s", shorten(reply))
            return
        try:
            await self._nc.publish(reply, body, headers=headers)
        except GONE as error:
            logger.warning("a reply was lost: %s", faults.describe(error))
