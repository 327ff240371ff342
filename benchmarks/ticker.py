"""A bot with a variant in its event loop, and a ticker that measures how long the loop stalls."""

import sys
import time

import anyio
import uvloop

from benchmarks.children import send
from benchmarks.harness import percentile
from benchmarks.variant import VARIANTS, add_users

INTERVAL = 0.001


async def main(name: str, url: str, path: str, prefix: str, count: int) -> None:
    """Tick until this number of events is committed; send how late the ticks were."""
    delays: list[float] = []
    async with VARIANTS[name](url, path, prefix) as applied:
        send(ready=True)
        while applied() < count:
            begun = time.perf_counter()
            await anyio.sleep(INTERVAL)
            if applied():
                delays.append(time.perf_counter() - begun - INTERVAL)
        send(p99=percentile(delays, 99), longest=max(delays))


if __name__ == "__main__":
    name, url, path, prefix, count = sys.argv[1:]
    add_users(path)
    uvloop.run(main(name, url, path, prefix, int(count)))
