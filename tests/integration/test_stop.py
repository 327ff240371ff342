"""Starting and stopping: started means subscribed, stopped means that all is applied."""

import signal
import threading
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import nats
import pytest
from anyio import to_thread
from nats.aio.client import Client
from support.bots import Bot
from support.databases import OldBotDatabase, locked, rows
from support.log import messages
from support.servers import NatsServer, nats_server
from support.services import ServiceOf

from rosey_dbsvc import DatabaseService
from rosey_dbsvc.pipeline.writer import Writer
from rosey_dbsvc.service import runner
from rosey_dbsvc.storage.sqlite.bot_database import Reader


async def flood(bot: Bot, count: int) -> None:
    """Publish chat messages, and wait until the server has them."""
    subject = f"{bot.prefix}.message.log"
    for number in range(count):
        await bot.nc.publish(subject, b'{"username": "alice", "message": "%d"}' % number)
    await bot.flush()


async def test_started_means_subscribed(bot: Bot, path: Path, service_of: ServiceOf) -> None:
    for number in range(20):
        service = service_of(path)
        async with anyio.create_task_group() as tasks:
            await tasks.start(service.serve)
            await bot.publish("message.log", username="alice", message=str(number))
            await bot.flush()
            await service.stop()
    assert await messages(path) == list(range(20))


async def test_started_means_that_the_server_has_confirmed_the_subscription(
    path: Path, prefix: str
) -> None:
    with nats_server() as server:
        nc = await nats.connect(server.url)
        service = DatabaseService(nc, path, prefix=prefix)
        server.send(signal.SIGSTOP)
        async with anyio.create_task_group() as tasks:
            started = anyio.Event()

            async def start() -> None:
                await tasks.start(service.serve)
                started.set()

            tasks.start_soon(start)
            await anyio.sleep(0.5)
            assert not started.is_set()
            server.send(signal.SIGCONT)
            with anyio.fail_after(10):
                await started.wait()
            service.request_stop()
        await nc.close()


async def test_a_start_can_be_cancelled(path: Path, prefix: str) -> None:
    with nats_server() as server:
        nc = await nats.connect(server.url)
        service = DatabaseService(nc, path, prefix=prefix, stop_timeout=60)
        server.send(signal.SIGSTOP)
        with anyio.fail_after(8):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(service.serve)
                await anyio.sleep(0.2)
                tasks.cancel_scope.cancel()
        server.send(signal.SIGCONT)
        await nc.close()


async def test_a_start_can_be_cancelled_at_any_moment(path: Path, service_of: ServiceOf) -> None:
    for milliseconds in range(1, 30):
        service = service_of(path)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(service.serve)
                await anyio.sleep(milliseconds / 1000)
                tasks.cancel_scope.cancel()


async def test_a_stop_during_a_flood_applies_all_delivered_events(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    service = service_of(path)
    async with service:
        await flood(bot, 20_000)
    assert await messages(path) == list(range(20_000))
    assert service.counts.abandoned == 0


def slow_down(nc: Client) -> anyio.Event:
    """Hold arriving data until the event is set, like a slow network."""
    transport = nc._transport
    assert transport is not None
    read, arrives = transport.read, anyio.Event()

    async def held(size: int) -> bytes:
        await arrives.wait()
        return bytes(await read(size))

    setattr(transport, "read", held)  # noqa: B010  mypy objects
    return arrives


async def test_a_stop_that_times_out_leaves_a_slow_connection_usable(
    bot: Bot, path: Path, prefix: str, server: NatsServer
) -> None:
    nc = await nats.connect(server.url)
    other = await nc.subscribe(f"{prefix}.other")
    service = DatabaseService(nc, path, prefix=f"{prefix}.db", stop_timeout=0.2)
    async with anyio.create_task_group() as tasks:
        await tasks.start(service.serve)
        arrives = slow_down(nc)
        await nc.flush()  # through the read that was in progress before
        with anyio.fail_after(5):
            await service.stop()
    arrives.set()
    await bot.nc.publish(f"{prefix}.other", b"still here")
    assert (await other.next_msg(timeout=5)).data == b"still here"
    await nc.close()


async def test_a_stop_waits_for_events_that_the_server_has_yet_to_send(
    bot: Bot, path: Path, prefix: str, server: NatsServer
) -> None:
    nc = await nats.connect(server.url)
    service = DatabaseService(nc, path, prefix=prefix)
    async with anyio.create_task_group() as tasks:
        await tasks.start(service.serve)
        arrives = slow_down(nc)
        await flood(bot, 20_000)
        service.request_stop()
        await anyio.sleep(1.5)
        arrives.set()
    assert await messages(path) == list(range(20_000))
    await nc.flush()
    await nc.close()


async def test_cancelling_the_host_during_a_flood_is_the_same_as_a_stop(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    service = service_of(path)
    async with anyio.create_task_group() as tasks:
        await tasks.start(service.serve)
        await flood(bot, 20_000)
        tasks.cancel_scope.cancel()
    assert await messages(path) == list(range(20_000))
    assert service.counts.abandoned == 0


async def test_cancelling_inside_of_the_context_is_the_same_as_a_stop(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    with anyio.CancelScope() as scope:
        async with service_of(path):
            await flood(bot, 20_000)
            scope.cancel()
    assert await messages(path) == list(range(20_000))


async def test_an_error_of_the_host_stops_the_service_and_is_raised(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with service_of(path):
            await flood(bot, 1_000)
            raise ZeroDivisionError
    assert await messages(path) == list(range(1_000))


async def test_start_and_stop_can_be_called_again_and_again(
    bot: Bot, path: Path, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    service = service_of(path)
    await service.stop()
    for number in range(3):
        await service.start()
        await service.start()
        assert "DatabaseService already running" in caplog.messages
        await bot.publish("message.log", username="alice", message=str(number))
        await bot.committed()
        await service.stop()
        await service.stop()
    assert await messages(path) == [0, 1, 2]


async def test_stop_can_be_called_by_another_task(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    service = service_of(path)
    async with anyio.create_task_group() as tasks:
        await tasks.start(service.serve)
        await flood(bot, 5_000)
        tasks.start_soon(service.stop)
        tasks.start_soon(service.stop)
    assert await messages(path) == list(range(5_000))


async def test_an_abort_leaves_a_given_connection_usable(
    bot: Bot, path: Path, nc: Client, prefix: str
) -> None:
    for _ in range(20):
        service = DatabaseService(nc, path, prefix=prefix)
        async with anyio.create_task_group() as tasks:
            await tasks.start(service.serve)
            await flood(bot, 1_000)
            service.request_stop()
            await anyio.lowlevel.checkpoint()
            service.abort()
        with anyio.fail_after(5):
            await nc.flush()
        assert nc.is_connected


async def test_after_start_another_task_can_call_stop(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    service = service_of(path)
    await service.start()
    await flood(bot, 1_000)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.stop)
    assert await messages(path) == list(range(1_000))
    await service.stop()


async def test_a_given_connection_stays_open_after_a_stop(
    bot: Bot, path: Path, nc: Client, prefix: str
) -> None:
    async with DatabaseService(nc, path, prefix=prefix):
        await flood(bot, 20_000)
    assert nc.is_connected
    assert await messages(path) == list(range(20_000))
    await flood(bot, 10)
    assert nc._subs.keys() <= {1}, "no more than the connection's own inbox is subscribed"


async def test_read_messages_do_not_count_towards_the_pending_limit_of_nats(
    bot: Bot, path: Path, nc: Client, prefix: str
) -> None:
    async with DatabaseService(nc, path, prefix=prefix) as service:
        await flood(bot, 20_000)
        await bot.committed()
        assert service.counts.applied == 20_000
        (subscription,) = [each for each in nc._subs.values() if each.subject == f"{prefix}.>"]
        assert (subscription.pending_msgs, subscription.pending_bytes) == (0, 0)


async def test_a_given_database_stays_open(bot: Bot, path: Path, service_of: ServiceOf) -> None:
    database = await to_thread.run_sync(OldBotDatabase, str(path))
    async with service_of(database):
        await bot.publish("user.joined", username="alice")
        await bot.committed()
    assert await to_thread.run_sync(database.logged) == ["joined alice"]
    await to_thread.run_sync(database.close)


async def test_sessions_end_with_the_service(bot: Bot, path: Path, service_of: ServiceOf) -> None:
    async with service_of(path):
        await bot.publish("user.joined", username="alice")
        await bot.committed()
    assert await rows(path, "SELECT current_session_start FROM user_stats") == [(None,)]


async def test_a_query_in_progress_is_answered_although_the_service_stops(
    bot: Bot, path: Path, service_of: ServiceOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: Reader, limit: int) -> list[int]:
        begun.set()
        assert go_on.wait(10)
        return [limit]

    monkeypatch.setattr(Reader, "recent_chat", slow)
    service = service_of(path)
    replies: list[Any] = []

    async def request() -> None:
        replies.append(await bot.query("stats.recent_chat.get", limit=7))

    async with anyio.create_task_group() as tasks:
        await tasks.start(service.serve)
        tasks.start_soon(request)
        await to_thread.run_sync(begun.wait)
        service.request_stop()
        await anyio.sleep(0.05)
        go_on.set()
    assert replies == [[7]]


async def test_events_that_are_not_applied_within_the_time_limit_are_counted_and_logged(
    bot: Bot, path: Path, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    holder = locked(path)
    service = service_of(path, stop_timeout=0.3)
    async with anyio.create_task_group() as tasks:
        await tasks.start(service.serve)
        await to_thread.run_sync(holder.__enter__)
        await flood(bot, 20_000)
        tasks.start_soon(_expect_503, bot)
        await anyio.sleep(0.1)
        await bot.flush()
        with anyio.fail_after(5):
            await service.stop()
    await to_thread.run_sync(holder.__exit__, None, None, None)
    assert service.counts.applied == 0
    assert service.counts.abandoned == 20_000
    errors = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert f"{service.counts.abandoned} delivered messages" in errors[-1]


async def test_messages_that_were_not_even_read_are_counted_and_refused(
    bot: Bot, path: Path, service_of: ServiceOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "Writer", partial(Writer, max_events=10))
    holder = locked(path)
    service = service_of(path, stop_timeout=0.3)
    async with anyio.create_task_group() as tasks:
        await tasks.start(service.serve)
        await to_thread.run_sync(holder.__enter__)
        await flood(bot, 1_000)
        tasks.start_soon(_expect_503, bot)
        await anyio.sleep(0.1)
        await bot.flush()
        await service.stop()
    await to_thread.run_sync(holder.__exit__, None, None, None)
    assert service.counts.abandoned == 1_001


async def _expect_503(bot: Bot) -> None:
    msg = await bot.request("stats.recent_chat.get")
    assert msg.data == b"[]"
    assert msg.headers
    assert msg.headers["Nats-Service-Error-Code"] == "503"


async def test_an_abort_ends_at_once(bot: Bot, path: Path, service_of: ServiceOf) -> None:
    holder = locked(path)
    service = service_of(path, stop_timeout=60)
    async with anyio.create_task_group() as tasks:
        await tasks.start(service.serve)
        await to_thread.run_sync(holder.__enter__)
        await flood(bot, 100)
        service.request_stop()
        await anyio.sleep(0.2)
        with anyio.fail_after(10):
            service.abort()
            await service.stop()
    await to_thread.run_sync(holder.__exit__, None, None, None)
    assert service.counts.abandoned == 100


async def test_many_starts_and_stops_leave_no_thread_behind(
    path: Path, service_of: ServiceOf
) -> None:
    service = service_of(path)
    for _ in range(50):
        async with service:
            pass
    threads = threading.active_count()
    for _ in range(50):
        async with service:
            pass
    assert threading.active_count() <= threads
