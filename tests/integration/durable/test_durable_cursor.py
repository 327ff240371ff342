"""Durable mode: the database keeps its position in the stream."""

from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from support.bots import Bot
from support.databases import OldBotDatabase, SpecDatabase, rows
from support.log import messages, publish
from support.servers import NatsServer
from support.services import ServiceOf

from rosey_dbsvc import DatabaseService, errors
from rosey_dbsvc.messaging.stream import Stream


async def test_an_adopted_database_keeps_the_cursor(
    nc: Client, path: Path, prefix: str, service_of: ServiceOf
) -> None:
    for part in range(3):
        async with service_of(path, database=OldBotDatabase) as service:
            await publish(nc, prefix, range(part * 50, part * 50 + 50))
            await Bot(nc, prefix).committed()
            assert service.counts.applied == 50
    logged = await rows(path, "SELECT what FROM log ORDER BY id")
    assert [what.split()[-1] for (what,) in logged] == [str(number) for number in range(150)]
    assert await rows(path, "SELECT sequence FROM rosey_dbsvc_cursor") == [(150,)]


async def test_a_database_without_a_connection_is_refused(
    service_of: ServiceOf,
) -> None:
    with pytest.raises(errors.NotAdoptable, match="no SQLite connection in `conn`"):
        await service_of(SpecDatabase()).serve()


async def test_core_mode_refuses_a_file_that_follows_a_stream(
    stream_server: NatsServer, path: Path, service_of: ServiceOf, prefix: str
) -> None:
    async with service_of(path):
        pass
    await publish_one(stream_server.url, prefix)
    async with service_of(path):
        pass
    with pytest.raises(errors.CannotOpen, match="use `durable`"):
        await DatabaseService(stream_server.url, path, prefix=prefix).serve()


async def publish_one(url: str, prefix: str) -> None:
    nc = await nats.connect(url)
    await publish(nc, prefix, range(1))
    await nc.close()


async def test_a_file_of_core_mode_continues_with_a_new_stream_while_the_bot_publishes(
    nc: Client,
    path: Path,
    stream_server: NatsServer,
    prefix: str,
    service_of: ServiceOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bot = Bot(nc, prefix)
    async with DatabaseService(stream_server.url, path, prefix=prefix):
        await publish(nc, prefix, range(10), acked=False)
        await bot.committed()
    prepare = Stream.prepare

    async def slowly(self: Stream) -> None:
        await prepare(self)
        await publish(nc, prefix, range(10, 20))

    monkeypatch.setattr(Stream, "prepare", slowly)
    async with service_of(path):
        await bot.committed()
    assert await messages(path) == list(range(20))
