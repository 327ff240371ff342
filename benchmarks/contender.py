"""One of those that are compared, in a process of its own.

Prints a line when it is ready, and one with the time, the number of events it has persisted and the
most memory it has used when it is done.
"""

import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import nats
import uvloop

from benchmarks.listing import Listing
from benchmarks.publisher import USERS, payload
from benchmarks.their_database import TheirDatabase
from rosey_dbsvc import BotDatabase, DatabaseService, Durable

LOOKED_EVERY = 0.002
PATIENCE = 5.0
"""How long nothing may happen before it counts as the end, in seconds."""

Applied = Callable[[], int]


@asynccontextmanager
async def service(url: str, path: str, prefix: str) -> AsyncIterator[Applied]:
    """Run this service with its own database."""
    async with DatabaseService(url, path, prefix=prefix) as service:
        yield lambda: service.counts.applied


@asynccontextmanager
async def durable(url: str, path: str, prefix: str) -> AsyncIterator[Applied]:
    """Run this service on a stream; it is there when it has caught up with that."""
    stream = Durable(stream=prefix.replace(".", "_"))
    async with DatabaseService(url, path, prefix=prefix, durable=stream) as service:
        yield lambda: service.counts.applied


@asynccontextmanager
async def adopted(url: str, path: str, prefix: str) -> AsyncIterator[Applied]:
    """Run this service with somebody else's."""
    async with DatabaseService(url, path, prefix=prefix, factory=TheirDatabase) as service:
        yield lambda: service.counts.applied


@asynccontextmanager
async def listing(url: str, path: str, prefix: str) -> AsyncIterator[Applied]:
    """Run a service as the specification lists it, with that database."""
    nc = await nats.connect(url)
    listing = Listing(nc, TheirDatabase(path), prefix)
    await listing.start()
    yield lambda: listing.applied
    await nc.close()


@asynccontextmanager
async def ceiling(url: str, _path: str, prefix: str) -> AsyncIterator[Applied]:
    """Run the same subscription, and an empty loop."""
    nc = await nats.connect(url)
    subscription = await nc.subscribe(f"{prefix}.>")
    received = 0

    async def loop() -> None:
        nonlocal received
        async for _ in subscription.messages:
            received += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(loop)
        await nc.flush()
        await nc.flush()
        yield lambda: received
        await nc.close()


CONTENDERS = {each.__name__: each for each in (service, durable, adopted, listing, ceiling)}


async def receive(name: str, url: str, path: str, prefix: str, count: int) -> None:
    """Run a contender until it has persisted so many events, or no more; below 0, until killed."""
    async with CONTENDERS[name](url, path, prefix) as applied:
        print(json.dumps({"ready": True}), flush=True)
        seen, when = 0, time.time()
        while count < 0 or (seen < count and (not seen or time.time() - when < PATIENCE)):
            await anyio.sleep(LOOKED_EVERY if count >= 0 else 1)
            if applied() != seen:
                seen, when = applied(), time.time()
        finish(when, seen)


def direct(path: str, count: int, size: int) -> None:
    """Call the database as a bot without a service does."""
    database = TheirDatabase(path)
    lines = [json.loads(payload(number, size)) for number in range(count)]
    print(json.dumps({"ready": True, "began": time.time()}), flush=True)
    for line in lines:
        database.user_chat_message(line["username"], line["message"])
    finish(time.time(), count)
    database.close()


def finish(when: float, applied: int) -> None:
    """Say how it went."""
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"ended": when, "applied": applied, "rss": rss}), flush=True)


def join_users(path: str) -> None:
    """Make the users known, so that their lines are counted."""
    with BotDatabase(path).conn as conn:
        conn.executemany(
            "INSERT OR IGNORE INTO user_stats (username, first_seen, last_seen) VALUES (?, 0, 0)",
            [(f"user{number}",) for number in range(USERS)],
        )
    conn.close()


if __name__ == "__main__":
    name, url, path, prefix, count, size = sys.argv[1:]
    join_users(path)
    if name == "direct":
        direct(path, int(count), int(size))
    else:
        uvloop.run(receive(name, url, path, prefix, int(count)))
