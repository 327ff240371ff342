"""Faults around the service: the file, the disk, the server."""

import json
import signal
import sqlite3
import threading
from pathlib import Path

import anyio
import nats
import psutil
import pytest
from anyio import to_thread
from nats.aio.client import Client
from support.bots import Bot
from support.databases import OldBotDatabase, SpecDatabase, lock_elsewhere, rows
from support.log import messages
from support.servers import NatsServer, nats_server
from support.services import ServiceOf

from rosey_dbsvc import BotDatabase, DatabaseService
from rosey_dbsvc.errors import (
    AlreadyServing,
    CannotOpen,
    ConnectionLost,
    ConnectionRefused,
    InvalidSettings,
    NotADatabase,
    NotAdoptable,
    PermissionDenied,
)


async def flood(bot: Bot, count: int, size: int = 10) -> None:
    for number in range(count):
        await bot.publish("message.log", username="alice", message=str(number).rjust(size))


@pytest.mark.soak
async def test_no_event_is_lost_while_another_process_locks_the_file_for_ten_seconds(
    bot: Bot, path: Path, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    async with service_of(path) as service:
        holder = await to_thread.run_sync(lock_elsewhere, path)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flood, bot, 20_000)
            await anyio.sleep(10)
            assert service.counts.applied == 0
            await to_thread.run_sync(holder.communicate)
        with anyio.fail_after(30):
            while service.counts.applied < 20_000:
                await anyio.sleep(0.05)
    assert await messages(path) == list(range(20_000))
    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert 1 <= len(warnings) <= 3, "now and then, not at each attempt"
    assert "cannot commit, retrying" in warnings[0]


async def test_a_full_database_loses_no_event_in_order_and_in_bounded_memory(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    made: list[BotDatabase] = []

    def cramped(name: str) -> BotDatabase:
        database = BotDatabase(name)
        database.conn.execute("PRAGMA max_page_count = 60")
        made.append(database)
        return database

    process = psutil.Process()
    async with service_of(path, database=cramped) as service:
        before = process.memory_info().rss
        await flood(bot, 10_000, size=2_000)
        await bot.flush()
        await anyio.sleep(1)
        assert service.counts.applied < 10_000
        assert process.memory_info().rss - before < 150_000_000
        # As an operator frees space while the service waits.
        await to_thread.run_sync(_make_room, made[0])
        with anyio.fail_after(60):
            while service.counts.applied < 10_000:
                await anyio.sleep(0.05)
        assert service.counts.rejected == 0
    assert await messages(path) == list(range(10_000))


def _make_room(database: BotDatabase) -> None:
    while True:
        try:
            database.conn.execute("PRAGMA max_page_count = 1000000")
        except sqlite3.OperationalError:
            continue
        return


async def test_a_destroyed_file_ends_the_service_with_one_error(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    service = service_of(path, database=OldBotDatabase)
    with pytest.raises(NotADatabase, match="no longer usable"):
        async with service:
            await flood(bot, 10)
            await bot.committed()
            await to_thread.run_sync(path.write_bytes, b"not a database" * 4000)
            await flood(bot, 10)
            await anyio.sleep(10)
    assert service.counts.applied == 10
    assert service.counts.abandoned > 0


async def test_with_an_unusable_database_queries_are_answered_and_events_counted_as_abandoned(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    go_on = threading.Event()

    class Breaking(SpecDatabase):
        def message_logged(self, username: str, message: str) -> None:
            assert go_on.wait(10), (username, message)
            error = sqlite3.DatabaseError("file is not a database")
            error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
            raise error

    service = service_of(path, database=Breaking)
    codes: list[str] = []

    async def request() -> None:
        reply = await bot.request("stats.recent_chat.get")
        assert reply.headers
        codes.append(reply.headers["Nats-Service-Error-Code"])

    async with anyio.create_task_group() as tasks:
        with pytest.raises(NotADatabase):
            async with service:
                await flood(bot, 10)
                for _ in range(20):
                    tasks.start_soon(request)
                await anyio.sleep(0.2)
                await bot.flush()
                go_on.set()
                await anyio.sleep(10)
    assert codes == ["500"] * 20
    assert (service.counts.applied, service.counts.abandoned) == (0, 10)


# The server


async def test_a_service_reconnects_to_a_restarted_server(path: Path, prefix: str) -> None:
    with nats_server() as server:
        async with DatabaseService(server.url, path, prefix=prefix):
            await to_thread.run_sync(server.kill)
            await to_thread.run_sync(server.start)
            bot = Bot(await nats.connect(server.url), prefix)
            with anyio.fail_after(20):
                while True:
                    try:
                        await bot.query("stats.recent_chat.get")
                        break
                    except nats.errors.NoRespondersError:
                        await anyio.sleep(0.05)
            await bot.publish("user.joined", username="alice")
            await bot.committed()
            await bot.nc.close()
        assert await rows(path, "SELECT username FROM user_stats") == [("alice",)]


async def test_events_delivered_before_the_server_died_are_applied(path: Path, prefix: str) -> None:
    with nats_server() as server:
        service = DatabaseService(server.url, path, prefix=prefix)
        async with service:
            bot = Bot(await nats.connect(server.url), prefix)
            await flood(bot, 5_000)
            await bot.committed()
            await flood(bot, 1)
            await bot.flush()
            await bot.nc.close()
            await to_thread.run_sync(server.kill)
        assert service.counts.applied >= 5_000
        assert service.counts.abandoned == 0


async def test_a_server_that_dies_during_a_stop_does_not_delay_it_until_the_time_limit(
    path: Path, prefix: str
) -> None:
    with nats_server() as server:
        service = DatabaseService(server.url, path, prefix=prefix, stop_timeout=60)
        bot = Bot(await nats.connect(server.url), prefix)
        with anyio.fail_after(25):
            async with service:
                await flood(bot, 5_000)
                await bot.committed()
                server.send(signal.SIGSTOP)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(service.stop)
                    await anyio.sleep(0.1)
                    await to_thread.run_sync(server.kill)
        await bot.nc.close()
        assert (service.counts.applied, service.counts.abandoned) == (5_000, 0)


async def test_revoked_credentials_end_the_service_after_a_commit(
    path: Path, prefix: str, tmp_path: Path
) -> None:
    config = tmp_path / "nats.conf"
    user = "authorization { user: bot, password: %s }"
    await to_thread.run_sync(config.write_text, user % "old")
    with nats_server(config=config) as server:
        url = server.url.replace("//", "//bot:old@")
        bot = Bot(await nats.connect(url), prefix)
        with pytest.raises(
            ConnectionLost, match="no longer accepts our credentials: Authorization Violation"
        ):
            async with DatabaseService(url, path, prefix=prefix):
                await flood(bot, 1_000)
                await bot.committed()
                await bot.nc.close()
                await to_thread.run_sync(config.write_text, user % "new")
                server.send(signal.SIGHUP)
                await anyio.sleep(20)
    assert await messages(path) == list(range(1_000))


async def test_a_connection_closed_for_good_ends_the_service_after_a_commit(
    bot: Bot, path: Path, server: NatsServer
) -> None:
    nc = await nats.connect(server.url)
    with pytest.raises(ConnectionLost, match="closed for good: User Authentication Expired"):
        async with DatabaseService(nc, path, prefix=bot.prefix):
            await flood(bot, 1_000)
            await bot.committed()
            await nc._process_err("'User Authentication Expired'")  # as its read loop would
            await anyio.sleep(10)
    assert await messages(path) == list(range(1_000))


async def test_a_connection_that_its_owner_closes_ends_the_service(
    path: Path, prefix: str, nc: Client
) -> None:
    with pytest.raises(ConnectionLost, match="closed by its owner"):
        async with DatabaseService(nc, path, prefix=prefix):
            await nc.close()
            await anyio.sleep(10)


def denying(prefix: str, *denied: str) -> str:
    subjects = json.dumps([f"{prefix}.{name}" for name in denied])
    permissions = f"permissions: {{ subscribe: {{ deny: {subjects} }} }}"
    return f"authorization {{ users: [ {{ user: a, password: b, {permissions} }} ] }}"


async def test_a_denied_subscription_keeps_the_service_from_starting(
    path: Path, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tmp_path / "nats.conf"
    await to_thread.run_sync(config.write_text, denying(prefix, ">"))
    with nats_server(config=config) as server:
        url = server.url.replace("//", "//a:b@")
        with pytest.raises(ConnectionRefused, match="the server denies the subscription"):
            await DatabaseService(url, path, prefix=prefix).start()
    assert "serving" not in caplog.text


async def test_a_subscription_that_is_denied_later_ends_the_service(
    path: Path, prefix: str, tmp_path: Path
) -> None:
    config = tmp_path / "nats.conf"
    await to_thread.run_sync(config.write_text, denying("nothing", "at.all"))
    with nats_server(config=config) as server:
        url = server.url.replace("//", "//a:b@")
        with pytest.raises(PermissionDenied, match="the server denies the subscription"):
            async with DatabaseService(url, path, prefix=prefix):
                await to_thread.run_sync(config.write_text, denying(prefix, ">"))
                server.send(signal.SIGHUP)
                await anyio.sleep(10)


# Errors at the start


async def test_wrong_credentials_are_refused_at_once(path: Path, tmp_path: Path) -> None:
    config = tmp_path / "nats.conf"
    await to_thread.run_sync(config.write_text, "authorization { token: right }")
    with nats_server(config=config) as server:
        for door in ("wrong@", ""):
            url = server.url.replace("//", f"//{door}")
            with anyio.fail_after(5), pytest.raises(ConnectionRefused) as caught:
                await DatabaseService(url, path).start()
            assert "Authorization Violation" in str(caught.value)
            assert "wrong" not in str(caught.value)


async def test_a_service_waits_for_its_server(
    path: Path, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    with nats_server() as server:
        await to_thread.run_sync(server.kill)
        url = server.url.replace("//", "//bot:secret@")
        with anyio.move_on_after(2):
            await DatabaseService(url, path, prefix=prefix).start()
        waiting = [line for line in caplog.messages if "waiting for NATS" in line]
        assert len(waiting) == 1, "at once, and not at each attempt"
        assert waiting[0].startswith(f"waiting for NATS at {server.url}, retrying: ")
        assert "secret" not in caplog.text
        service = DatabaseService(server.url, path, prefix=prefix)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(to_thread.run_sync, server.start)
            async with service:
                pass


async def test_an_unusable_database_is_an_error_before_the_connection(tmp_path: Path) -> None:
    url = "nats://127.0.0.1:1"
    with pytest.raises(CannotOpen):
        await DatabaseService(url, tmp_path).start()
    with pytest.raises(NotAdoptable, match="object cannot be adopted for user"):
        await DatabaseService(url, object()).start()


def test_an_invalid_prefix_is_refused() -> None:
    for prefix in ("", "rosey.", ".db", "rosey.*", "a b", ">", "a\n"):
        with pytest.raises(InvalidSettings):
            DatabaseService("nats://127.0.0.1:1", prefix=prefix)


async def test_an_invalid_url_is_refused(path: Path) -> None:
    with pytest.raises(InvalidSettings):
        await DatabaseService("nats://127.0.0.1:99999", path).start()


async def test_a_service_serves_once_at_a_time(path: Path, service_of: ServiceOf) -> None:
    service = service_of(path)
    async with service:
        with pytest.raises(AlreadyServing):
            await service.serve()
