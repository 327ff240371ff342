"""Duration of a query, compared with an echo of as many bytes and a direct call."""

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import nats
import uvloop
from nats.aio.client import Client

from benchmarks.children import child
from benchmarks.harness import MICROSECONDS, PREFIX, Row, percentile, scratch, spread
from benchmarks.publisher import UNLIMITED
from benchmarks.variant import UNTIL_KILLED
from rosey_dbsvc import BotDatabase

ROWS = 50
REQUESTS = 400
"""Requests in a block. The blocks of the variants take turns."""
RATE = 500
"""Chat messages per second under load."""
SIZE = 200
"""Size of a chat message under load, in bytes."""
BODY = b'{"limit": 50}'
VARIANTS = ("service", "echo", "minimum", "direct")

Times = dict[str, list[list[float]]]
"""By variant and load: the durations of the requests in each block, in seconds."""


def measure(url: str, rounds: int) -> list[Row]:
    """Measure p50 and p99, idle and under load."""
    with scratch() as directory:
        times = uvloop.run(_measure(url, directory / "bench.db", rounds))
    return [_row(times, percent, load) for load in ("", " under load") for percent in (50, 99)]


async def _measure(url: str, path: Path, rounds: int) -> Times:
    _fill(path)
    own_file = path.with_name("s.db")
    with (
        closing(BotDatabase(path)) as database,
        child("variant", "service", url, own_file, PREFIX, UNTIL_KILLED, 0) as service,
    ):
        service.read()
        async with await nats.connect(url) as nc:
            await _publish(nc)
            size = len(await _query(nc))
            with child("echo", url, size, path) as echo:
                echo.read()
                return await _rounds(nc, url, database, rounds)


async def _rounds(nc: Client, url: str, database: BotDatabase, rounds: int) -> Times:
    times: Times = {}
    for _ in range(rounds):
        await _blocks(times, nc, database)
        with child("publisher", url, PREFIX, UNLIMITED, RATE, SIZE) as publisher:
            publisher.read()
            await _blocks(times, nc, database, " under load")
    return times


def _fill(path: Path) -> None:
    with closing(BotDatabase(path)) as database:
        database.user_chat_messages(
            [(time.time(), f"user{n}", f"line {n} " + "x" * 40) for n in range(ROWS)]
        )


async def _publish(nc: Client) -> None:
    for number in range(ROWS):
        data = b'{"username": "user%d", "message": "line %d %s"}' % (number, number, b"x" * 40)
        await nc.publish(f"{PREFIX}.message.log", data)


async def _query(nc: Client) -> bytes:
    return (await nc.request(f"{PREFIX}.stats.recent_chat.get", BODY, timeout=5)).data


async def _echo(nc: Client) -> bytes:
    return (await nc.request("bench.echo", BODY, timeout=5)).data


async def _minimum(nc: Client) -> bytes:
    return (await nc.request("bench.minimum", BODY, timeout=5)).data


async def _blocks(times: Times, nc: Client, database: BotDatabase, load: str = "") -> None:
    async def direct(_: Client) -> Any:
        return database.get_recent_chat(ROWS)

    for name, call in zip(VARIANTS, (_query, _echo, _minimum, direct), strict=True):
        durations = []
        for _ in range(REQUESTS):
            begun = time.perf_counter()
            await call(nc)
            durations.append(time.perf_counter() - begun)
            await anyio.sleep(0)
        times.setdefault(name + load, []).append(durations)


def _row(times: Times, percent: int, load: str) -> Row:
    service, echo, minimum, direct = (
        spread([MICROSECONDS * percentile(block, percent) for block in times[name + load]])
        for name in VARIANTS
    )
    return Row(
        f"query of {ROWS} rows, p{percent}{load}, µs",
        service,
        f"{service.median / (echo.median + direct.median):.2f} ×"
        f" (echo {echo.median:.0f} + direct call {direct.median:.0f}),"
        f" {service.median / minimum.median:.2f} × the minimum with a thread"
        f" ({minimum.median:.0f})",
    )
