"""Retention while the service runs: old rows are deleted at the start, and then regularly."""

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio import CapacityLimiter, to_thread

from rosey_dbsvc._aio import Backoff
from rosey_dbsvc._text import Logger, describe
from rosey_dbsvc.storage import sqlite_errors
from rosey_dbsvc.storage.protocol import Retention, Storage

logger = Logger(__name__)


@asynccontextmanager
async def maintained(
    storage: Storage, limiter: CapacityLimiter, interval: float
) -> AsyncIterator[None]:
    """Delete old rows now, and then at an interval in seconds; 0 is never.

    The limiter is the writer's: the writer can run between two steps.
    """
    async with anyio.create_task_group() as tasks:
        if interval and storage.retention(time.time()) is not None:
            tasks.start_soon(_maintain, storage, limiter, interval, name="maintenance")
        yield
        tasks.cancel_scope.cancel()


async def _maintain(storage: Storage, limiter: CapacityLimiter, interval: float) -> None:
    while (retention := storage.retention(time.time())) is not None:
        try:
            await _delete_old(retention, limiter)
        except sqlite3.Error as error:
            logger.error("Database maintenance error: %(reason)s", reason=describe(error))  # noqa: TRY400
        else:
            done = ", ".join(retention.done) or "nothing to delete"
            logger.info("Database maintenance completed: %(done)s", done=done)
        await anyio.sleep(interval)


async def _delete_old(retention: Retention, limiter: CapacityLimiter) -> None:
    backoff = Backoff("cannot delete old rows", "deleting old rows again")
    more = True
    while more:
        begun = anyio.current_time()
        try:
            more = await to_thread.run_sync(retention.step, limiter=limiter)
        except sqlite3.Error as error:
            if not sqlite_errors.is_transient(error):
                raise
            await backoff.wait(describe(error))
        else:
            backoff.succeeded()
            await anyio.sleep(anyio.current_time() - begun)  # half of the time is the writer's
