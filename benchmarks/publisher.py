"""The bot, in a process of its own: publishes chat messages as fast as possible, or at a rate.

It sends the time when it begins, and ends when the server has all messages.
"""

import json
import sys
import time

import anyio
import nats
import uvloop

from benchmarks.children import send

USERS = 100
UNLIMITED = 10**9
"""Number of messages of a publisher that publishes until its parent kills it."""
MAX_PAYLOADS = 10_000
CHUNK = 100
"""Messages that are published before other tasks of the event loop run."""


def payload(number: int, size: int) -> bytes:
    """Return a chat message of about this many bytes."""
    chat = {"username": f"user{number % USERS}", "message": f"{number} "}
    chat["message"] += "x" * max(0, size - len(json.dumps(chat)))
    return json.dumps(chat).encode()


async def main(url: str, prefix: str, count: int, rate: float, size: int) -> None:
    """Publish messages, at a rate per second, or as fast as possible if it is 0."""
    payloads = [payload(number, size) for number in range(min(count, MAX_PAYLOADS))]
    nc = await nats.connect(url)
    subject = f"{prefix}.message.log"
    send(begun=time.time())
    begun = time.perf_counter()
    for number in range(count):
        await nc.publish(subject, payloads[number % len(payloads)])
        if rate:
            await anyio.sleep(max(0, begun + (number + 1) / rate - time.perf_counter()))
        elif number % CHUNK == 0:
            await anyio.sleep(0)
    await nc.flush()
    await nc.flush()
    await nc.close()


if __name__ == "__main__":
    url, prefix, count, rate, size = sys.argv[1:]
    uvloop.run(main(url, prefix, int(count), float(rate), int(size)))
