"""A stream and the database that follows it: publishing, and reading what is stored."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
from nats.aio.client import Client
from nats.errors import Error
from nats.js.api import StreamInfo

from support.databases import rows, select

NUMBERS = "SELECT CAST(message AS INTEGER) FROM recent_chat ORDER BY id"

TABLES = (
    "user_stats user_actions channel_stats user_count_history recent_chat current_status "
    "outbound_messages api_tokens rosey_dbsvc_cursor sqlite_sequence"
).split()


async def publish(nc: Client, prefix: str, numbers: range, *, acked: bool = True) -> None:
    """Publish a chat message per number; with `acked`, each until the stream has stored it."""
    js = nc.jetstream(timeout=2)
    for number in numbers:
        payload = json.dumps({"username": f"u{number % 7}", "message": str(number)}).encode()
        subject = f"{prefix}.message.log"
        if not acked:
            await nc.publish(subject, payload)
            continue
        while True:
            with suppress(Error, OSError):
                await js.publish(subject, payload, headers={"Nats-Msg-Id": f"{prefix}{number}"})
                break


async def info(nc: Client, stream: str) -> StreamInfo:
    return await nc.jetstream().stream_info(stream)


async def stored(nc: Client, stream: str, last: int) -> None:
    """Wait until the stream has stored this sequence; the server stores after a flush ends."""
    while (await info(nc, stream)).state.last_seq < last:
        await anyio.sleep(0.01)


def numbers(path: Path) -> list[int]:
    """Return the numbers in the chat messages, in the order of the table."""
    return [number for (number,) in select(path, NUMBERS)]


async def messages(path: Path) -> list[int]:
    """Return the same, from a test with an event loop."""
    return [number for (number,) in await rows(path, NUMBERS)]


def contents(path: Path) -> dict[str, list[Any]]:
    """Return every row of every table, in order."""
    return {table: select(path, f"SELECT rowid, * FROM {table} ORDER BY rowid") for table in TABLES}
