"""A service on a file of old rows. It sends how long the steps of their deletion took."""

import sys
import time

import anyio
import uvloop

from benchmarks.children import send
from benchmarks.harness import percentile
from rosey_dbsvc import DatabaseService
from rosey_dbsvc.storage.sqlite.retention import Retention

POLL_INTERVAL = 0.01

durations: list[float] = []
"""Duration of each step, in seconds; 0 at the end."""
step = Retention.step


def timed_step(retention: Retention) -> bool:
    """Do a step, and measure how long the writer would wait for it."""
    begun = time.perf_counter()
    more = step(retention)
    durations.append(time.perf_counter() - begun)
    if not more:
        durations.append(0.0)
    return more


async def main(url: str, path: str, prefix: str) -> None:
    """Serve until all old rows are deleted."""
    begun = time.perf_counter()
    async with DatabaseService(url, path, prefix=prefix) as service:
        send(ready=True)
        while not durations or durations[-1]:  # noqa: ASYNC110  the steps are in another thread
            await anyio.sleep(POLL_INTERVAL)
        result = {
            "longest": max(durations),
            "p99": percentile(durations, 99),
            "seconds": time.perf_counter() - begun,
            "applied": service.counts.applied,
        }
    send(**result)


if __name__ == "__main__":
    Retention.step = timed_step  # type: ignore[method-assign, assignment]
    uvloop.run(main(*sys.argv[1:]))
