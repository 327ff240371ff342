"""What a running service does for its file now and then: what is old goes."""

import logging
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio import CapacityLimiter, to_thread

from rosey_dbsvc._patience import Patience
from rosey_dbsvc.storage import sqlite_errors as faults
from rosey_dbsvc.storage.sqlite.retention import Retention
from rosey_dbsvc.storage.storage import Storage

logger = logging.getLogger(__name__)


@asynccontextmanager
async def maintained(
    storage: Storage, limiter: CapacityLimiter, every: float
) -> AsyncIterator[None]:
    """Delete what is old while in the context: now, and then at this interval, in seconds.

    The limiter is the writer's: between two steps the writer has its turn. 0 is never, and so it is
    for a database of somebody else's.
    """
    async with anyio.create_task_group() as tasks:
        if every and storage.retention(time.time()) is not None:
            tasks.start_soon(_maintain, storage, limiter, every, name="upkeep")
        yield
        tasks.cancel_scope.cancel()


async def _maintain(storage: Storage, limiter: CapacityLimiter, every: float) -> None:
    while (retention := storage.retention(time.time())) is not None:
        try:
            await _delete_old(retention, limiter)
        except sqlite3.Error as error:
            logger.error("Database maintenance error: %s", faults.describe(error))  # noqa: TRY400
        else:
            done = ", ".join(retention.done) or "nothing was old"
            logger.info("Database maintenance completed: %s", done)
        await anyio.sleep(every)


async def _delete_old(retention: Retention, limiter: CapacityLimiter) -> None:
    patience = Patience("the database takes no maintenance", "the database takes maintenance again")
    more = True
    while more:
        begun = anyio.current_time()
        try:
            more = await to_thread.run_sync(retention.step, limiter=limiter)
        except sqlite3.Error as error:
            if not faults.is_passing(error):
                raise
            await patience.wait(faults.describe(error))
        else:
            patience.over()
            await anyio.sleep(anyio.current_time() - begun)  # the other half of the time is free
