"""Durable mode, compared with core mode: events through a stream, pending events, and queries."""

import time
from pathlib import Path

import nats
import uvloop
from anyio import sleep
from nats.aio.client import Client

from benchmarks.children import child
from benchmarks.events import COUNTS, run_once
from benchmarks.harness import MEGABYTE, MICROSECONDS, Row, percentile, scratch, spread
from benchmarks.variant import UNTIL_KILLED

PENDING = 1_000_000
SIZE = 100
"""Size of a pending event, in bytes."""
REQUESTS = 400
"""Queries per round."""
POLL_INTERVAL = 0.1

Times = dict[str, list[list[float]]]
"""By variant: the durations of the queries in each round, in seconds."""


def measure(url: str, rounds: int) -> list[Row]:
    """Measure events and queries, in turn with core mode, and pending events."""
    return [
        _events(url, rounds),
        *_pending(url, max(1, rounds // 2)),
        _query(url, rounds),
    ]


def _events(url: str, rounds: int) -> Row:
    rates: dict[str, list[float]] = {"service": [], "durable": []}
    lost = 0
    for turn in range(rounds):
        for name, measured in rates.items():
            with scratch() as directory:
                count, prefix = COUNTS["service"], f"{name}{turn}.db"
                run = run_once(url, name, directory / "bench.db", count, prefix=prefix)
            measured.append(run["rate"])
            lost += run["lost"]
    core, durable = spread(rates["service"]), spread(rates["durable"])
    compared = f"{durable.median / core.median:.2f} × core mode ({core.median:,.0f}), {lost} lost"
    return Row("chat messages per second: **this service**, durable", durable, compared)


def _pending(url: str, rounds: int) -> list[Row]:
    rates, memory = [], []
    for turn in range(rounds):
        prefix = f"pending{turn}.db"
        with scratch() as directory:
            path = directory / "bench.db"
            _apply(url, path, prefix, 0)  # creates the stream, and the database that follows it
            with child("publisher", url, prefix, PENDING, 0, SIZE) as publisher:
                publisher.process.wait()
            uvloop.run(_wait_until_stored(url, prefix))
            begun = time.time()
            ended, peak_memory = _apply(url, path, prefix, PENDING)
            rates.append(PENDING / (ended - begun))
            memory.append(peak_memory / MEGABYTE)
    label = f"{PENDING:,} pending events of {SIZE} bytes in the stream"
    return [
        Row(f"{label}: events per second, measured from the start of the process", spread(rates)),
        Row(f"{label}: peak memory, MB", spread(memory), f"in {rounds} runs"),
    ]


def _apply(url: str, path: Path, prefix: str, count: int) -> tuple[float, float]:
    """Run the service until it has applied the events; return the time and the peak memory."""
    with child("variant", "durable", url, path, prefix, count, SIZE) as service:
        service.read()
        result = service.read()
        service.process.wait()
    assert result["applied"] == count
    return result["ended"], result["peak_memory"]


async def _wait_until_stored(url: str, prefix: str) -> None:
    nc = await nats.connect(url)
    js = nc.jetstream()
    while (await js.stream_info(prefix.replace(".", "_"))).state.last_seq < PENDING:  # noqa: ASYNC110
        await sleep(POLL_INTERVAL)
    await nc.close()


def _query(url: str, rounds: int) -> Row:
    with scratch() as directory:
        times = uvloop.run(_query_both(url, directory, rounds))
    core, durable = (
        spread([MICROSECONDS * percentile(block, 50) for block in times[name]])
        for name in ("service", "durable")
    )
    compared = f"{durable.median / core.median:.2f} × core mode ({core.median:.0f})"
    return Row("query of 50 rows, p50, µs: **this service**, durable", durable, compared)


async def _query_both(url: str, directory: Path, rounds: int) -> Times:
    times: Times = {"service": [], "durable": []}
    nc = await nats.connect(url)
    arguments = [
        ("variant", name, url, directory / name, f"query_{name}.db", UNTIL_KILLED, 0)
        for name in times
    ]
    with child(*arguments[0]) as core, child(*arguments[1]) as durable:
        core.read(), durable.read()
        for _ in range(rounds):
            for name, blocks in times.items():
                blocks.append(await _block(nc, f"query_{name}.db"))
    await nc.close()
    return times


async def _block(nc: Client, prefix: str) -> list[float]:
    for number in range(50):
        data = b'{"username": "alice", "message": "line %d %s"}' % (number, b"x" * 40)
        await nc.publish(f"{prefix}.message.log", data)
    await _timed(nc, prefix)  # waits until the messages are committed
    return [await _timed(nc, prefix) for _ in range(REQUESTS)]


async def _timed(nc: Client, prefix: str) -> float:
    begun = time.perf_counter()
    await nc.request(f"{prefix}.stats.recent_chat.get", b'{"limit": 50}', timeout=5)
    return time.perf_counter() - begun
