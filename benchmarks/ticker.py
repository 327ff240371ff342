"""A bot with a database in its event loop, and a ticker that notices when that stands still."""

import json
import sys
import time

import anyio
import uvloop

from benchmarks.contender import CONTENDERS, join_users
from benchmarks.machinery import percentile

TICK = 0.001


async def main(name: str, url: str, path: str, prefix: str, count: int) -> None:
    """Tick until so many events are persisted; print how late the ticks were."""
    late: list[float] = []
    async with CONTENDERS[name](url, path, prefix) as applied:
        print(json.dumps({"ready": True}), flush=True)
        while applied() < count:
            begun = time.perf_counter()
            await anyio.sleep(TICK)
            if applied():
                late.append(time.perf_counter() - begun - TICK)
        print(json.dumps({"p99": percentile(late, 99), "longest": max(late)}), flush=True)


if __name__ == "__main__":
    name, url, path, prefix, count = sys.argv[1:]
    join_users(path)
    uvloop.run(main(name, url, path, prefix, int(count)))
