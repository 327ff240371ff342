"""Durable mode: a stored event that nats-py cannot decode."""

from pathlib import Path

import pytest
from anyio import to_thread
from support.bots import Bot
from support.log import messages, publish
from support.raw import PING, RawClient
from support.servers import NatsServer
from support.services import ServiceOf

PAYLOAD = b'{"username": "poison", "message": "1000"}'


@pytest.mark.parametrize("headers", [b"NATS/1.0", b"x", b"\r\n\r\n"])
async def test_it_is_rejected_and_the_cursor_goes_on(
    stream_server: NatsServer, bot: Bot, path: Path, service_of: ServiceOf, headers: bytes
) -> None:
    def store_poison() -> None:
        subject = f"{bot.prefix}.message.log".encode()
        sizes = (len(headers), len(headers) + len(PAYLOAD))
        command = b"HPUB %s %d %d\r\n%s%s\r\n" % (subject, *sizes, headers, PAYLOAD)
        with RawClient(int(stream_server.url.rpartition(":")[2])) as client:
            client.send(command + PING)
            client.read_until(b"PONG")

    async with service_of(path) as service:
        await publish(bot.nc, bot.prefix, range(3))
        await to_thread.run_sync(store_poison)
        await publish(bot.nc, bot.prefix, range(3, 6))
        await bot.committed()
        assert (service.counts.applied, service.counts.rejected) == (6, 1)
    async with service_of(path) as service:
        await bot.committed()
        assert (service.counts.applied, service.counts.rejected) == (0, 0)
    assert await messages(path) == [*range(6)]
    replica = path.with_name("replica.db")
    async with service_of(replica):
        await bot.committed()
    assert await messages(replica) == [*range(6)]
