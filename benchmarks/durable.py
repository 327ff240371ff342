"""The same in durable mode: events through a stream, a backlog that is in it, and queries."""

import time
from pathlib import Path

import nats
import uvloop
from anyio import sleep
from nats.aio.client import Client

from benchmarks.events import COUNTS, run_once
from benchmarks.growth import MEGABYTE
from benchmarks.machinery import Row, Server, Spread, child, folder, percentile, spread
from benchmarks.queries import MICROSECONDS

BACKLOG = 1_000_000
REQUESTS = 400
LOOKED_EVERY = 0.1
SIZE = 100


def measure(server: Server, rounds: int) -> list[Row]:
    """Return rows for events, a backlog and queries, each against core mode in turns."""
    return [
        *_events(server, rounds),
        *_backlog(server, max(1, rounds // 2)),
        _query(server, rounds),
    ]


def _events(server: Server, rounds: int) -> list[Row]:
    rates: dict[str, list[float]] = {"service": [], "durable": []}
    lost = 0
    for turn in range(rounds):
        for name, taken in rates.items():
            with folder() as place:
                count, prefix = COUNTS["service"], f"{name}{turn}.db"
                run = run_once(server, name, place / "bench.db", count, prefix=prefix)
            taken.append(run["rate"])
            lost += run["lost"]
    core, durable = spread(rates["service"]), spread(rates["durable"])
    against = f"{durable.median / core.median:.2f} × core mode ({core.median:,.0f}), {lost} lost"
    return [Row("lines of chat a second: **this service**, durable", durable, against)]


def _backlog(server: Server, rounds: int) -> list[Row]:
    rates, memory = [], []
    for turn in range(rounds):
        prefix = f"backlog{turn}.db"
        with folder() as place:
            path = place / "bench.db"
            _contend(server, path, prefix, 0)  # makes the stream, and the file that follows it
            with child("publisher", server.url, prefix, BACKLOG, 0, SIZE) as publisher:
                publisher.process.wait()
            uvloop.run(_stored(server, prefix))
            began = time.time()
            ended, rss = _contend(server, path, prefix, BACKLOG)
            rates.append(BACKLOG / (ended - began))
            memory.append(rss / MEGABYTE)
    what = f"a backlog of {BACKLOG:,} events of {SIZE} bytes in the stream"
    return [
        Row(f"{what}: events a second, from the start of the process", spread(rates), ""),
        Row(f"{what}: peak memory, MB", spread(memory), f"in {rounds} runs"),
    ]


def _contend(server: Server, path: Path, prefix: str, count: int) -> tuple[float, float]:
    with child("contender", "durable", server.url, path, prefix, count, SIZE) as contender:
        contender.says()
        ended = contender.says()
        contender.process.wait()
    assert ended["applied"] == count
    return ended["ended"], ended["rss"]


async def _stored(server: Server, prefix: str) -> None:
    nc = await nats.connect(server.url)
    js = nc.jetstream()
    while (await js.stream_info(prefix.replace(".", "_"))).state.last_seq < BACKLOG:  # noqa: ASYNC110
        await sleep(LOOKED_EVERY)
    await nc.close()


def _query(server: Server, rounds: int) -> Row:
    with folder() as place:
        times = uvloop.run(_ask_both(server, place, rounds))
    at: dict[str, Spread] = {
        name: spread([MICROSECONDS * percentile(block, 50) for block in blocks])
        for name, blocks in times.items()
    }
    ratio = at["durable"].median / at["service"].median
    against = f"{ratio:.2f} × core mode ({at['service'].median:.0f})"
    return Row("query of 50 rows, p50, µs: **this service**, durable", at["durable"], against)


async def _ask_both(server: Server, place: Path, rounds: int) -> dict[str, list[list[float]]]:
    times: dict[str, list[list[float]]] = {"service": [], "durable": []}
    nc = await nats.connect(server.url)
    commands = [
        ("contender", name, server.url, place / name, f"asked_{name}.db", -1, 0) for name in times
    ]
    with child(*commands[0]) as core, child(*commands[1]) as durable:
        core.says(), durable.says()
        for _ in range(rounds):
            for name, blocks in times.items():
                subject = f"asked_{name}.db"
                for number in range(50):
                    said = b'{"username": "alice", "message": "line %d %s"}' % (number, b"x" * 40)
                    await nc.publish(f"{subject}.message.log", said)
                blocks.append([await _timed(nc, f"{subject}.stats.recent_chat.get")])
                for _ in range(REQUESTS):
                    blocks[-1].append(await _timed(nc, f"{subject}.stats.recent_chat.get"))
                del blocks[-1][0]  # it waits for the lines
    await nc.close()
    return times


async def _timed(nc: Client, subject: str) -> float:
    begun = time.perf_counter()
    await nc.request(subject, b'{"limit": 50}', timeout=5)
    return time.perf_counter() - begun
