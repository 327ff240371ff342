"""A bot in its own process that publishes numbered chat messages at a fixed rate.

It ends when its standard input is closed, and prints how many messages it published. With `acked`,
each is published until the stream has stored it, under an id that prevents duplicates.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import nats
from nats.aio.client import Client
from nats.errors import Error

TURN = 0.01
RATE = 2_500


async def flood(urls: str, prefix: str, *, acked: bool) -> None:
    nc = await nats.connect(
        urls.split(","), error_cb=quiet, max_reconnect_attempts=-1, reconnect_time_wait=0.1
    )
    ended = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait_for_end, ended)
        print("flooding", flush=True)
        count, began = 0, anyio.current_time()
        while not ended.is_set():
            await anyio.sleep(TURN)
            due = int((anyio.current_time() - began) * RATE)
            while count < due and not (acked and ended.is_set()):
                if acked:
                    await publish_until_stored(nc, prefix, count)
                else:
                    await nc.publish(f"{prefix}.message.log", line(count))
                count += 1
        seconds = anyio.current_time() - began
    await nc.flush()
    await nc.flush()
    await nc.close()
    print(json.dumps({"count": count, "seconds": seconds}), flush=True)


async def publish_until_stored(nc: Client, prefix: str, number: int) -> None:
    headers = {"Nats-Msg-Id": f"{prefix}.{number}"}
    js = nc.jetstream()
    while True:
        try:
            await js.publish(f"{prefix}.message.log", line(number), timeout=0.5, headers=headers)
        except (Error, OSError):
            await anyio.sleep(0.05)
        else:
            return


def line(number: int) -> bytes:
    return b'{"username": "user%d", "message": "%d"}' % (number % 7, number)


async def wait_for_end(ended: anyio.Event) -> None:
    await anyio.to_thread.run_sync(sys.stdin.read)
    ended.set()


async def quiet(_: Exception) -> None:
    """Ignore errors of the connection: the tests stop the server on purpose."""


class Flood:
    """The process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def end(self) -> int:
        """End it, and return the number of messages that it published."""
        said, _ = self._process.communicate(timeout=60)
        ended: dict[str, Any] = json.loads(said)
        print(f"{ended['count'] / ended['seconds']:.0f} events a second")
        return int(ended["count"])


@contextmanager
def flooding(urls: str, prefix: str, *, acked: bool = False) -> Iterator[Flood]:
    process = subprocess.Popen(
        [sys.executable, "-m", "support.flood", urls, prefix, str(int(acked))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "flooding\n"
        yield Flood(process)
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    urls, prefix, acked = sys.argv[1:]
    anyio.run(lambda: flood(urls, prefix, acked=acked == "1"))
