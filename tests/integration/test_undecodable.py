"""Bytes that nats-py cannot decode cost their own message, and nothing else."""

from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.protocol.parser import Parser
from support.bots import Bot
from support.databases import rows
from support.raw import PING, RawClient
from support.servers import NatsServer
from support.services import ServiceOf

from rosey_dbsvc import DatabaseService

MESSAGES = "SELECT message FROM recent_chat ORDER BY id"
PAYLOAD = b'{"username": "poison", "message": "poison"}'
TOKEN = st.binary(min_size=1, max_size=12).map(
    lambda data: bytes(byte for byte in data if byte > 32 and byte not in b".*>") or b"\xff"
)


def publish(subject: bytes, payload: bytes, reply: bytes = b"") -> bytes:
    return b"PUB %s %s %d\r\n%s\r\n" % (subject, reply, len(payload), payload)


def publish_with(subject: bytes, headers: bytes, payload: bytes = PAYLOAD) -> bytes:
    sizes = (len(headers), len(headers) + len(payload))
    return b"HPUB %s %d %d\r\n%s%s\r\n" % (subject, *sizes, headers, payload)


def hostile(prefix: str) -> list[bytes]:
    log = f"{prefix}.message.log".encode()
    return [
        publish(prefix.encode() + b".\xff", b"{}"),
        publish(b"$SRV.\xff", b"{}", b"x"),
        publish(b"$SRV.PING", b"", b"\xff"),
        publish(log, PAYLOAD, b"\xff"),
        publish(f"{prefix}.stats.recent_chat.get".encode(), b"{}", b"\xff"),
        *(
            publish_with(log, headers)
            for headers in (b"NATS/1.0", b"x", b"\r\n\r\n", b"NATS/1.0 404 \xe9\r\n\r\n")
        ),
    ]


def send(server: NatsServer, data: bytes) -> None:
    """Send bytes on a socket of their own, and wait until the server has processed them."""
    with RawClient(int(server.url.rpartition(":")[2])) as client:
        client.send(data + PING)
        client.read_until(b"PONG")


@pytest.mark.parametrize("number", range(9))
async def test_a_message_that_cannot_be_decoded_delays_no_other(
    server: NatsServer, bot: Bot, path: Path, service_of: ServiceOf, number: int
) -> None:
    async with service_of(path):
        await to_thread.run_sync(send, server, hostile(bot.prefix)[number])
        await bot.publish("message.log", username="alice", message="after")
        assert [each["message"] for each in await bot.query("stats.recent_chat.get")] == ["after"]


async def test_an_event_with_broken_headers_is_rejected_and_counted(
    server: NatsServer,
    bot: Bot,
    path: Path,
    service_of: ServiceOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    subject = f"{bot.prefix}.message.log".encode()
    async with service_of(path) as service:
        await to_thread.run_sync(send, server, publish_with(subject, b"NATS/1.0"))
        await bot.committed()
        assert (service.counts.rejected, service.counts.applied) == (1, 0)
    assert "the headers of the message cannot be decoded" in caplog.text


async def test_a_service_on_a_connection_of_its_host_is_protected_too(
    server: NatsServer, nc: Client, bot: Bot, path: Path
) -> None:
    async with DatabaseService(nc, path, prefix=bot.prefix):
        for data in hostile(bot.prefix):
            await to_thread.run_sync(send, server, data)
        await bot.publish("message.log", username="alice", message="after")
        await bot.committed()
    assert await rows(path, MESSAGES) == [("after",)]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    subjects=st.lists(TOKEN, max_size=3),
    headers=st.lists(st.binary(min_size=1, max_size=30), max_size=3),
    replies=st.lists(TOKEN, max_size=3),
)
async def test_no_bytes_silence_a_service(
    server: NatsServer,
    bot: Bot,
    path: Path,
    service_of: ServiceOf,
    subjects: list[bytes],
    headers: list[bytes],
    replies: list[bytes],
) -> None:
    prefix = bot.prefix.encode()
    log = prefix + b".message.log"
    data = b"".join(
        [publish(prefix + b"." + subject, b"{}") for subject in subjects]
        + [publish_with(log, each) for each in headers]
        + [publish(log, b"", reply) for reply in replies]
    )
    async with service_of(path) as service:
        await to_thread.run_sync(send, server, data)
        await bot.publish("user.joined", username="alice")
        await bot.committed()
        assert service.counts.connected
        assert service.counts.applied >= 1


async def test_a_read_loop_that_ends_is_noticed_and_the_service_reconnects(
    bot: Bot,
    path: Path,
    service_of: ServiceOf,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    parse, failed = Parser.parse, anyio.Event()

    async def fail_once(parser: Parser, data: bytes = b"") -> None:
        if b"poison" in data and not failed.is_set():
            failed.set()
            raise RuntimeError("an error of nats-py")
        await parse(parser, data)

    monkeypatch.setattr(Parser, "parse", fail_once)
    async with service_of(path):
        await bot.publish("message.log", username="alice", message="poison")
        with anyio.fail_after(30):
            await failed.wait()
            while "reconnected to NATS" not in caplog.messages:
                await anyio.sleep(0.01)
        await bot.publish("message.log", username="alice", message="after")
        await bot.committed()
    assert await rows(path, MESSAGES) == [("after",)]
