"""DatabaseClient with `durable`: an event is published until a stream has stored it."""

import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import nats
import pytest
from anyio import to_thread
from nats.aio.client import Client
from nats.aio.msg import Msg
from support.databases import rows
from support.flood import quiet
from support.servers import NatsServer, nats_server
from support.services import ServiceOf

from rosey_dbsvc import ChatLine, DatabaseClient, DatabaseService, Durable
from rosey_dbsvc.errors import (
    ConnectionLost,
    NotServed,
    NotStored,
)
from rosey_dbsvc.messaging import transport


async def all_of(db: DatabaseClient, count: int) -> list[ChatLine]:
    """Request until the service is connected again and has caught up."""
    found: list[ChatLine] = []
    while len(found) < count:
        with suppress(NotServed):
            found = await db.recent_chat(limit=1000)
        await anyio.sleep(0.05)
    return found


STREAM_AT_3 = b'{"error": {"code": 400, "description": "wrong last sequence: 3"}}'


async def test_while_a_server_is_killed_and_restarted_every_event_is_stored_once(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "ACK_TIMEOUT", 0.2)
    with nats_server("-js", "-sd", str(tmp_path / "js")) as server:
        nc = await nats.connect(
            server.url, error_cb=quiet, max_reconnect_attempts=-1, reconnect_time_wait=0.05
        )
        async with DatabaseService(server.url, path, durable=Durable()):
            db = DatabaseClient(nc, durable=True)
            for number in range(300):
                if number % 100 == 0:  # also before the first
                    await to_thread.run_sync(server.kill)
                    await to_thread.run_sync(server.start)
                await db.user_chat_message("alice", str(number))
            found = await all_of(db, 300)
        await nc.close()
    assert [int(row["message"]) for row in found] == [*range(300)]


async def test_the_first_event_is_retried_while_the_server_does_not_respond(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "ACK_TIMEOUT", 0.1)
    with nats_server("-js", "-sd", str(tmp_path / "js")) as server:
        nc = await nats.connect(server.url)
        async with DatabaseService(server.url, path, durable=Durable()):
            db = DatabaseClient(nc, durable=True)
            async with anyio.create_task_group() as tasks:
                server.send(signal.SIGSTOP)
                sent = nc.stats["out_msgs"]
                tasks.start_soon(db.user_joined, "alice")
                while nc.stats["out_msgs"] < sent + 3:  # the probe and two retries
                    await anyio.sleep(0.01)
                server.send(signal.SIGCONT)
            await db.recent_chat()
            assert await rows(path, "SELECT username FROM user_stats") == [("alice",)]
        await nc.close()


async def test_an_event_is_retried_while_jetstream_is_unavailable(
    nc: Client, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "RETRY_DELAY", 0.01)
    unavailable = b'{"error": {"code": 503, "description": "temporarily unavailable"}}'
    answers = iter([unavailable, unavailable, STREAM_AT_3])

    async def give(msg: Msg) -> None:
        is_question = msg.subject.endswith("message.log")
        await nc.publish(
            msg.reply, next(answers) if is_question else b'{"stream": "ROSEY_DB", "seq": 4}'
        )

    await nc.subscribe(f"{prefix}.*.*", cb=give)
    await nc.flush()
    await DatabaseClient(nc, prefix=prefix, durable=True).user_joined("alice")
    assert next(answers, None) is None


async def test_an_event_whose_acknowledgement_is_lost_is_stored_once(
    tmp_path: Path, path: Path
) -> None:
    class Deaf(Client):
        """Loses every second reply."""

        lost = 0

        async def request(self, subject: str, *args: Any, **options: Any) -> Msg:
            reply = await super().request(subject, *args, **options)
            self.lost += 1
            if self.lost % 2 == 0 and subject.endswith("message.log"):
                raise nats.errors.TimeoutError
            return reply

    with nats_server("-js", "-sd", str(tmp_path / "js")) as server:
        nc = Deaf()
        await nc.connect(server.url)
        async with DatabaseService(server.url, path, durable=Durable()):
            db = DatabaseClient(nc, durable=True)
            for number in range(10):
                await db.user_chat_message("alice", str(number))
            found = await db.recent_chat()
        await nc.close()
    assert [int(row["message"]) for row in found] == [*range(10)]


async def test_without_a_stream_an_event_is_not_stored(
    nc: Client, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "STORE_TIMEOUT", 0.3)
    db = DatabaseClient(nc, prefix=prefix, durable=True)
    with pytest.raises(NotStored, match=r"no stream acknowledged .*user\.joined"):
        await db.user_joined("alice")


@pytest.mark.parametrize("subject", ["message.log", "*.*"])
@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b"{}", b"null", b'{"error": {}}'])
async def test_a_reply_to_the_probe_that_is_not_a_stream_s_is_an_error(
    nc: Client, prefix: str, subject: str, body: bytes
) -> None:
    async def give(msg: Msg) -> None:
        await nc.publish(msg.reply, body)

    await nc.subscribe(f"{prefix}.{subject}", cb=give)
    await nc.flush()
    with pytest.raises(NotStored, match="is not a stream"):
        await DatabaseClient(nc, prefix=prefix, durable=True).user_joined("alice")


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b"{}", b"null"])
async def test_a_reply_that_is_not_an_acknowledgement_is_an_error(
    nc: Client, prefix: str, body: bytes
) -> None:
    async def give(msg: Msg) -> None:
        is_question = msg.subject.endswith("message.log")
        await nc.publish(msg.reply, STREAM_AT_3 if is_question else body)

    await nc.subscribe(f"{prefix}.*.*", cb=give)
    await nc.flush()
    with pytest.raises(NotStored, match=r"user\.joined is not a stream"):
        await DatabaseClient(nc, prefix=prefix, durable=True).user_joined("alice")


async def test_a_service_in_core_mode_gets_no_event(
    nc: Client,
    prefix: str,
    path: Path,
    service_of: ServiceOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "ACK_TIMEOUT", 0.05)
    async with service_of(path):
        db = DatabaseClient(nc, prefix=prefix, durable=True)
        with pytest.raises(NotStored, match="start the service with --durable"):
            await db.user_chat_message("alice", "hi")
        with pytest.raises(NotStored):
            await db.user_joined("alice")
        assert await db.recent_chat() == []
    assert await rows(path, "SELECT * FROM user_stats") == []


async def test_an_event_in_progress_ends_with_connection_lost_when_the_client_closes(
    server: NatsServer, nc: Client, prefix: str
) -> None:
    published = anyio.Event()

    async def hear(_: Msg) -> None:
        published.set()

    async def publish(db: DatabaseClient) -> None:
        with pytest.raises(ConnectionLost):
            await db.user_joined("alice")

    await nc.subscribe(f"{prefix}.>", cb=hear)
    await nc.flush()
    with anyio.fail_after(1.5):
        async with (
            anyio.create_task_group() as tasks,
            DatabaseClient(server.url, prefix=prefix, durable=True) as db,
        ):
            tasks.start_soon(publish, db)
            await published.wait()
