"""A variant of the service, or what it is compared with, in a process of its own.

It sends one line when it is ready. When it is done, it sends the time, the number of events that it
has committed, and its peak memory.
"""

import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing

import anyio
import nats
import uvloop

from benchmarks.children import send
from benchmarks.publisher import USERS, payload
from benchmarks.rosey_database import RoseyDatabase
from benchmarks.spec_listing import SpecListing
from rosey_dbsvc import BotDatabase, DatabaseService, Durable

UNTIL_KILLED = -1
"""Number of events of a variant that runs until its parent kills it."""
POLL_INTERVAL = 0.002
IDLE_TIMEOUT = 5.0
"""Time without a commit after which the remaining events count as lost, in seconds."""

Applied = Callable[[], int]
"""A function that returns the number of committed events."""


@asynccontextmanager
async def service(url: str, path: str, prefix: str) -> AsyncIterator[Applied]:
    """Run this service with its own database."""
    async with DatabaseService(url, path, prefix=prefix) as service:
        yield lambda: service.counts.applied


@asynccontextmanager
async def durable(url: str, path: str, prefix: str) -> AsyncIterator[Applied]:
    """Run this service in durable mode. It is ready when it has applied the pending events."""
    stream = Durable(stream=prefix.replace(".", "_"))
    async with DatabaseService(url, path, prefix=prefix, durable=stream) as service:
        yield lambda: service.counts.applied


@asynccontextmanager
async def adopted(url: str, path: str, prefix: str) -> AsyncIterator[Applied]:
    """Run this service with the database of the direct calls adopted."""
    async with DatabaseService(url, path, prefix=prefix, database=RoseyDatabase) as service:
        yield lambda: service.counts.applied


@asynccontextmanager
async def spec_listing(url: str, path: str, prefix: str) -> AsyncIterator[Applied]:
    """Run a service written like the specification's listing."""
    nc = await nats.connect(url)
    listing = SpecListing(nc, RoseyDatabase(path), prefix)
    await listing.start()
    yield lambda: listing.applied
    await nc.close()


@asynccontextmanager
async def iterator(url: str, _path: str, prefix: str) -> AsyncIterator[Applied]:
    """Run the message iterator of nats-py on the same subscription, with an empty loop."""
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


VARIANTS = {each.__name__: each for each in (service, durable, adopted, spec_listing, iterator)}


async def run(name: str, url: str, path: str, prefix: str, count: int) -> None:
    """Run a variant until it has committed this number of events, or makes no more progress."""
    async with VARIANTS[name](url, path, prefix) as applied:
        send(ready=True)
        seen, when = 0, time.time()
        while count < 0 or (seen < count and (not seen or time.time() - when < IDLE_TIMEOUT)):
            await anyio.sleep(POLL_INTERVAL if count >= 0 else 1)
            if applied() != seen:
                seen, when = applied(), time.time()
        send_result(when, seen)


def run_direct(path: str, count: int, size: int) -> None:
    """Call the database directly, like a bot without a service."""
    with closing(RoseyDatabase(path)) as database:
        messages = [json.loads(payload(number, size)) for number in range(count)]
        send(ready=True, begun=time.time())
        for each in messages:
            database.user_chat_message(each["username"], each["message"])
        send_result(time.time(), count)


def send_result(ended: float, applied: int) -> None:
    """Send the result to the parent."""
    peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    send(ended=ended, applied=applied, peak_memory=peak_memory)


def add_users(path: str) -> None:
    """Add the users of the publisher, so that their messages are counted."""
    with BotDatabase(path).conn as conn:
        conn.executemany(
            "INSERT OR IGNORE INTO user_stats (username, first_seen, last_seen) VALUES (?, 0, 0)",
            [(f"user{number}",) for number in range(USERS)],
        )
    conn.close()


if __name__ == "__main__":
    name, url, path, prefix, count, size = sys.argv[1:]
    add_users(path)
    if name == "direct":
        run_direct(path, int(count), int(size))
    else:
        uvloop.run(run(name, url, path, prefix, int(count)))
