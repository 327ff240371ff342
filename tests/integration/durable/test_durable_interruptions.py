"""Durable mode: lost messages, consumers and connections cost no event."""

import json
import time
from pathlib import Path
from typing import Any

import anyio
import nats
import pytest
from nats.aio.client import Client
from support.bots import Bot
from support.databases import rows
from support.log import messages, publish, stored
from support.servers import NatsServer, nats_server
from support.services import ServiceOf

from rosey_dbsvc import BotDatabase, DatabaseService, Durable, errors


async def test_a_deleted_consumer_is_created_again_at_the_same_position(
    nc: Client, path: Path, prefix: str, stream: str, service_of: ServiceOf
) -> None:
    async with service_of(path) as service:
        for part in range(10):
            await publish(nc, prefix, range(part * 100, part * 100 + 50), acked=False)
            for consumer in await nc.jetstream().consumers_info(stream):
                await nc.jetstream().delete_consumer(stream, consumer.name)
            await publish(nc, prefix, range(part * 100 + 50, part * 100 + 100), acked=False)
        with anyio.fail_after(20):
            while service.counts.applied < 1000:
                await anyio.sleep(0.01)
    assert await messages(path) == list(range(1000))


async def test_the_service_waits_while_jetstream_is_disabled(
    tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with nats_server("-js", "-sd", str(tmp_path / "js")) as server:
        async with DatabaseService(server.url, path, prefix="x", durable=Durable()) as service:
            nc = await nats.connect(server.url, reconnect_time_wait=0.05)
            bot = Bot(nc, "x")
            await publish(nc, "x", range(10))
            server.kill()
            with_jetstream = server.arguments
            server.arguments = []
            server.start()
            with anyio.fail_after(20):
                while not any("has no JetStream" in line for line in caplog.messages):
                    await anyio.sleep(0.05)
                reply = await reply_to(bot)
            assert reply.headers == {"Rosey-Stale": "unknown"}
            assert len(json.loads(reply.data)) == 10
            server.kill()
            server.arguments = with_jetstream
            server.start()
            await publish(nc, "x", range(10, 20))
            with anyio.fail_after(20):
                while service.counts.applied < 20:
                    await anyio.sleep(0.05)
            await nc.close()
    assert await messages(path) == list(range(20))
    assert any("reading the stream ROSEY_DB again after" in line for line in caplog.messages)


async def reply_to(bot: Bot) -> Any:
    """Request until there is a reply: bot and service have to reconnect first."""
    while True:
        try:
            return await bot.request("stats.recent_chat.get")
        except nats.errors.Error:
            await anyio.sleep(0.05)


@pytest.mark.parametrize("lost", [37, 100])
async def test_messages_lost_in_transit_are_read_again(
    nc: Client,
    path: Path,
    prefix: str,
    service_of: ServiceOf,
    lost: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the last one is lost, only the heartbeat shows it."""
    deliver, seen = Client._process_msg, 0

    async def lossy(self: Client, sid: int, subject: bytes, reply: bytes, *rest: Any) -> None:
        nonlocal seen
        seen += reply.startswith(b"$JS.ACK")
        if seen != lost or not reply.startswith(b"$JS.ACK"):
            await deliver(self, sid, subject, reply, *rest)

    monkeypatch.setattr(Client, "_process_msg", lossy)
    async with service_of(path) as service:
        await publish(nc, prefix, range(100))
        with anyio.fail_after(20):
            while service.counts.applied < 100:
                await anyio.sleep(0.01)
    assert await messages(path) == list(range(100))


async def test_a_message_without_metadata_of_the_stream_is_not_applied(
    nc: Client, path: Path, prefix: str, service_of: ServiceOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    inboxes: list[str] = []
    new_inbox = Client.new_inbox

    def noted(self: Client) -> str:
        inboxes.append(new_inbox(self))
        return inboxes[-1]

    monkeypatch.setattr(Client, "new_inbox", noted)
    async with service_of(path):
        for reply in ("x", "$JS.ACK.a.b.c.d.e.f.g", ".".join("1" * 20), "$JS.ACK.S.C.1.7.7.7.0"):
            await nc.publish(inboxes[-1], b'{"username": "mallory"}', reply=reply)
        await publish(nc, prefix, range(10))
        await Bot(nc, prefix).committed()
    assert await messages(path) == list(range(10))
    assert await rows(path, "SELECT username FROM user_stats") == []


async def test_with_a_closed_connection_the_service_does_not_start(
    stream_server: NatsServer, path: Path, prefix: str, stream: str
) -> None:
    host = await nats.connect(stream_server.url)
    await host.close()
    with pytest.raises(errors.ConnectionLost), anyio.fail_after(10):
        await DatabaseService(host, path, prefix=prefix, durable=Durable(stream=stream)).serve()


async def test_a_connection_closed_while_the_service_catches_up_is_lost(
    stream_server: NatsServer,
    path: Path,
    prefix: str,
    stream: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Slow(BotDatabase):
        def user_joined(self, username: str) -> None:
            time.sleep(2)
            super().user_joined(username)

    host = await nats.connect(stream_server.url)
    durable = Durable(stream=stream)
    async with DatabaseService(host, path, prefix=prefix, durable=durable):
        pass
    await Bot(host, prefix).publish("user.joined", username="alice")
    await stored(host, stream, 1)
    service = DatabaseService(host, path, prefix=prefix, durable=durable, database=Slow)
    with pytest.raises(errors.ConnectionLost), anyio.fail_after(20), errors.sole_error():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.serve)
            while f"following the stream {stream} from 1: 1 events behind" not in (caplog.messages):
                await anyio.sleep(0.01)
            await host.close()


@pytest.mark.parametrize("method", ["abort", "request_stop"])
async def test_a_service_can_be_stopped_while_it_catches_up(
    nc: Client,
    path: Path,
    prefix: str,
    stream: str,
    service_of: ServiceOf,
    method: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Slow(BotDatabase):
        def user_joined(self, username: str) -> None:
            time.sleep(1)
            super().user_joined(username)

    async with service_of(path):
        pass
    await Bot(nc, prefix).publish("user.joined", username="alice")
    await stored(nc, stream, 1)
    caplog.clear()
    service = service_of(path, database=Slow)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.serve)
            while not any("1 events behind" in line for line in caplog.messages):
                await anyio.sleep(0.01)
            getattr(service, method)()
    assert not any(line.startswith("serving") for line in caplog.messages)
