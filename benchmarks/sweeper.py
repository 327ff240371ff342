"""A service on a file full of what is old; it says how long the steps of deleting that took."""

import json
import sys
import time

import anyio
import uvloop

from benchmarks.machinery import percentile
from rosey_dbsvc import DatabaseService
from rosey_dbsvc.storage.sqlite.retention import Retention

TAKEN: list[float] = []
LOOKED_EVERY = 0.01

step = Retention.step


def timed_step(retention: Retention) -> bool:
    """Take a step, and note how long the writer would have waited for it."""
    begun = time.perf_counter()
    more = step(retention)
    TAKEN.append(time.perf_counter() - begun)
    if not more:
        TAKEN.append(0.0)
    return more


async def main(url: str, path: str, prefix: str) -> None:
    """Serve until what is old is gone."""
    begun = time.perf_counter()
    async with DatabaseService(url, path, prefix=prefix) as service:
        print(json.dumps("serving"), flush=True)
        while not TAKEN or TAKEN[-1]:  # noqa: ASYNC110  the end is noted in another thread
            await anyio.sleep(LOOKED_EVERY)
        taken = {
            "longest": max(TAKEN),
            "p99": percentile(TAKEN, 99),
            "seconds": time.perf_counter() - begun,
            "applied": service.counts.applied,
        }
    print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    Retention.step = timed_step  # type: ignore[method-assign, assignment]
    uvloop.run(main(*sys.argv[1:]))
