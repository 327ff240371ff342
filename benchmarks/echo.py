"""Two that only reply: a raw echo, and the least that answers from a thread.

`bench.echo` is a callback that replies with so many bytes. `bench.least` is what a query costs at
the least if SQL is to stay off the event loop: nats-py's iterator, the direct call in a thread.
"""

import json
import sys

import anyio
import nats
import uvloop
from anyio import to_thread
from nats.aio.client import Client
from nats.aio.msg import Msg

from rosey_dbsvc import BotDatabase


async def main(url: str, size: int, path: str) -> None:
    """Reply until killed."""
    nc = await nats.connect(url)
    body = b"x" * size

    async def reply(msg: Msg) -> None:
        await nc.publish(msg.reply, body)

    await nc.subscribe("bench.echo", cb=reply)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(least, nc, body, BotDatabase(path))
        await anyio.sleep(0.1)
        await nc.flush()
        print(json.dumps({"ready": True}), flush=True)


async def least(nc: Client, body: bytes, database: BotDatabase) -> None:
    """Read in a thread, and reply with as many bytes."""
    subscription = await nc.subscribe("bench.least")
    async for msg in subscription.messages:
        await to_thread.run_sync(database.get_recent_chat, 50)
        await nc.publish(msg.reply, body)


if __name__ == "__main__":
    url, size, path = sys.argv[1:]
    uvloop.run(main(url, int(size), path))
