"""Two responders that queries are compared with.

`bench.echo` is a callback that replies with a given number of bytes. `bench.minimum` does only what
every query needs if SQL must not run on the event loop: the message iterator of nats-py, the direct
call in a thread, and a reply whose bytes were prepared before.
"""

import sys

import anyio
import nats
import uvloop
from anyio import to_thread
from nats.aio.client import Client
from nats.aio.msg import Msg

from benchmarks.children import send
from rosey_dbsvc import BotDatabase


async def main(url: str, size: int, path: str) -> None:
    """Reply until killed."""
    nc = await nats.connect(url)
    body = b"x" * size

    async def reply(msg: Msg) -> None:
        await nc.publish(msg.reply, body)

    await nc.subscribe("bench.echo", cb=reply)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(minimum, nc, body, BotDatabase(path))
        await anyio.sleep(0.1)
        await nc.flush()
        send(ready=True)


async def minimum(nc: Client, body: bytes, database: BotDatabase) -> None:
    """Call the database in a thread, and reply with the prepared bytes."""
    subscription = await nc.subscribe("bench.minimum")
    async for msg in subscription.messages:
        await to_thread.run_sync(database.get_recent_chat, 50)
        await nc.publish(msg.reply, body)


if __name__ == "__main__":
    url, size, path = sys.argv[1:]
    uvloop.run(main(url, int(size), path))
