"""The time that a query takes, against an echo of as many bytes and a direct call."""

import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import nats
import uvloop
from nats.aio.client import Client

from benchmarks.machinery import Row, Server, child, folder, percentile, spread
from rosey_dbsvc import BotDatabase

ROWS = 50
REQUESTS = 400
"""In each block; the blocks take turns."""
RATE = 500
MICROSECONDS = 1e6


def measure(server: Server, rounds: int) -> list[Row]:
    """Return rows for p50 and p99, idle and under load."""
    with folder() as place:
        return uvloop.run(_measure(server, place / "bench.db", rounds))


async def _measure(server: Server, path: Path, rounds: int) -> list[Row]:
    _fill(path)
    reader = BotDatabase(path)
    times: dict[str, list[list[float]]] = {}
    with child("contender", "service", server.url, path.with_name("s.db"), "bench.db", -1, 0) as it:
        it.says()
        async with AsyncExitStack() as stack:
            nc = await stack.enter_async_context(await nats.connect(server.url))
            await _say(nc)
            reply = await _ask(nc)
            with child("echo", server.url, len(reply), path) as echo:
                echo.says()
                for _ in range(rounds):
                    await _block(times, nc, reader)
                    with child("publisher", server.url, "bench.db", 10**9, RATE, 200) as publisher:
                        publisher.says()
                        await _block(times, nc, reader, " under load")
    reader.close()
    return _rows(times)


def _fill(path: Path) -> None:
    database = BotDatabase(path)
    lines = [(time.time(), f"user{n}", f"line {n} " + "x" * 40) for n in range(ROWS)]
    database.user_chat_messages(lines)
    database.close()


async def _say(nc: Client) -> None:
    for number in range(ROWS):
        said = b'{"username": "user%d", "message": "line %d %s"}' % (number, number, b"x" * 40)
        await nc.publish("bench.db.message.log", said)


async def _ask(nc: Client) -> bytes:
    msg = await nc.request("bench.db.stats.recent_chat.get", b'{"limit": 50}', timeout=5)
    return bytes(msg.data)


async def _echo(nc: Client) -> bytes:
    return bytes((await nc.request("bench.echo", b'{"limit": 50}', timeout=5)).data)


async def _least(nc: Client) -> bytes:
    return bytes((await nc.request("bench.least", b'{"limit": 50}', timeout=5)).data)


async def _block(
    times: dict[str, list[list[float]]], nc: Client, reader: BotDatabase, load: str = ""
) -> None:
    async def direct(_: Client) -> Any:
        return reader.get_recent_chat(ROWS)

    calls = {"service": _ask, "echo": _echo, "least": _least, "direct": direct}
    for name, call in calls.items():
        taken = []
        for _ in range(REQUESTS):
            begun = time.perf_counter()
            await call(nc)
            taken.append(time.perf_counter() - begun)
            await anyio.sleep(0)
        times.setdefault(name + load, []).append(taken)


def _rows(times: dict[str, list[list[float]]]) -> list[Row]:
    rows = []
    for load in ("", " under load"):
        for q in (50, 99):
            at = {
                name: spread([MICROSECONDS * percentile(taken, q) for taken in times[name + load]])
                for name in ("service", "echo", "least", "direct")
            }
            both = at["echo"].median + at["direct"].median
            rows.append(
                Row(
                    f"query of {ROWS} rows, p{q}{load}, µs",
                    at["service"],
                    f"{at['service'].median / both:.2f} × (echo {at['echo'].median:.0f}"
                    f" + direct call {at['direct'].median:.0f}),"
                    f" {at['service'].median / at['least'].median:.2f} × the least with a thread"
                    f" ({at['least'].median:.0f})",
                )
            )
    return rows
