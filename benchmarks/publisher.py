"""The bot, in a process of its own: publishes lines of chat as fast as it can, or at a rate.

Prints the time at which it began, and ends when the server has everything.
"""

import json
import sys
import time

import anyio
import nats
import uvloop

USERS = 100
AT_ONCE = 100


def payload(number: int, size: int) -> bytes:
    """Return a line of chat of about this many bytes."""
    said = {"username": f"user{number % USERS}", "message": f"{number} "}
    said["message"] += "x" * max(0, size - len(json.dumps(said)))
    return json.dumps(said).encode()


async def main(url: str, prefix: str, count: int, rate: float, size: int) -> None:
    """Publish so many lines, at a rate a second, or without a limit if it is 0."""
    payloads = [payload(number, size) for number in range(min(count, 10_000))]
    nc = await nats.connect(url)
    subject = f"{prefix}.message.log"
    print(time.time(), flush=True)
    begun = time.perf_counter()
    for number in range(count):
        await nc.publish(subject, payloads[number % len(payloads)])
        if rate:
            await anyio.sleep(max(0, begun + (number + 1) / rate - time.perf_counter()))
        elif number % AT_ONCE == 0:
            await anyio.sleep(0)
    await nc.flush()
    await nc.flush()
    await nc.close()


if __name__ == "__main__":
    url, prefix, count, rate, size = sys.argv[1:]
    uvloop.run(main(url, prefix, int(count), float(rate), int(size)))
