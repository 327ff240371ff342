"""What goes wrong around the service: the file, the disk, the server."""

import json
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import anyio
import nats
import psutil
import pytest
from anyio import to_thread
from nats.aio.client import Client
from support.bots import Bot
from support.databases import OldBotDatabase, SpecDatabase, lock_elsewhere, rows
from support.servers import NatsServer, nats_server

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

ServiceOf = Callable[..., DatabaseService]


@pytest.fixture
def bot(nc: Client, prefix: str) -> Bot:
    return Bot(nc, prefix)


async def flood(bot: Bot, count: int, size: int = 10) -> None:
    for number in range(count):
        await bot.tell("message.log", username="alice", message=str(number).rjust(size))


async def said(path: Path) -> list[int]:
    return [
        int(text) for (text,) in await rows(path, "SELECT message FROM recent_chat ORDER BY id")
    ]


async def test_a_file_that_another_process_locks_for_ten_seconds_costs_nothing(
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
    assert await said(path) == list(range(20_000))
    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert 1 <= len(warnings) <= 3, "said now and then, not at each try"
    assert "the database takes no events, trying again" in warnings[0]


async def test_a_full_database_loses_nothing_and_keeps_order_in_bounded_memory(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    made: list[BotDatabase] = []

    def cramped(name: str) -> BotDatabase:
        database = BotDatabase(name)
        database.conn.execute("PRAGMA max_page_count = 60")
        made.append(database)
        return database

    process = psutil.Process()
    async with service_of(path, factory=cramped) as service:
        before = process.memory_info().rss
        await flood(bot, 10_000, size=2_000)
        await bot.told()
        await anyio.sleep(1)
        assert service.counts.applied < 10_000
        assert process.memory_info().rss - before < 150_000_000
        # As an operator makes room while the service waits.
        await to_thread.run_sync(_make_room, made[0])
        with anyio.fail_after(60):
            while service.counts.applied < 10_000:
                await anyio.sleep(0.05)
        assert service.counts.rejected == 0
    assert await said(path) == list(range(10_000))


def _make_room(database: BotDatabase) -> None:
    while True:
        try:
            database.conn.execute("PRAGMA max_page_count = 1000000")
        except sqlite3.OperationalError:
            continue
        return


async def test_a_file_that_is_destroyed_ends_the_service_with_one_error(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    service = service_of(path, factory=OldBotDatabase)
    with pytest.raises(NotADatabase, match="cannot be used any more"):
        async with service:
            await flood(bot, 10)
            await bot.settled()
            await to_thread.run_sync(path.write_bytes, b"not a database" * 4000)
            await flood(bot, 10)
            await anyio.sleep(10)
    assert service.counts.applied == 10
    assert service.counts.abandoned > 0


async def test_when_the_database_is_beyond_help_all_who_ask_are_told_and_all_losses_counted(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    go_on = threading.Event()

    class Breaking(SpecDatabase):
        def message_logged(self, username: str, message: str) -> None:
            assert go_on.wait(10), (username, message)
            error = sqlite3.DatabaseError("file is not a database")
            error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
            raise error

    service = service_of(path, factory=Breaking)
    codes: list[str] = []

    async def ask() -> None:
        reply = await bot.request("stats.recent_chat.get")
        assert reply.headers
        codes.append(reply.headers["Nats-Service-Error-Code"])

    async with anyio.create_task_group() as tasks:
        with pytest.raises(NotADatabase):
            async with service:
                await flood(bot, 10)
                for _ in range(20):
                    tasks.start_soon(ask)
                await anyio.sleep(0.2)
                await bot.told()
                go_on.set()
                await anyio.sleep(10)
    assert codes == ["500"] * 20
    assert (service.counts.applied, service.counts.abandoned) == (0, 10)


# The server


async def test_a_server_that_comes_back_finds_the_service(path: Path, prefix: str) -> None:
    with nats_server() as server:
        async with DatabaseService(server.url, path, prefix=prefix):
            await to_thread.run_sync(server.kill)
            await to_thread.run_sync(server.start)
            bot = Bot(await nats.connect(server.url), prefix)
            with anyio.fail_after(20):
                while True:
                    try:
                        await bot.ask("stats.recent_chat.get")
                        break
                    except nats.errors.NoRespondersError:
                        await anyio.sleep(0.05)
            await bot.tell("user.joined", username="alice")
            await bot.settled()
            await bot.nc.close()
        assert await rows(path, "SELECT username FROM user_stats") == [("alice",)]


async def test_what_was_delivered_before_the_server_died_is_applied(
    path: Path, prefix: str
) -> None:
    with nats_server() as server:
        service = DatabaseService(server.url, path, prefix=prefix)
        async with service:
            bot = Bot(await nats.connect(server.url), prefix)
            await flood(bot, 5_000)
            await bot.settled()
            await flood(bot, 1)
            await bot.told()
            await bot.nc.close()
            await to_thread.run_sync(server.kill)
        assert service.counts.applied >= 5_000
        assert service.counts.abandoned == 0


async def test_the_server_dying_during_a_stop_delays_it_by_no_deadline(
    path: Path, prefix: str
) -> None:
    with nats_server() as server:
        service = DatabaseService(server.url, path, prefix=prefix, stop_timeout=60)
        bot = Bot(await nats.connect(server.url), prefix)
        with anyio.fail_after(25):
            async with service:
                await flood(bot, 5_000)
                await bot.settled()
                server.send(signal.SIGSTOP)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(service.stop)
                    await anyio.sleep(0.1)
                    await to_thread.run_sync(server.kill)
        await bot.nc.close()
        assert (service.counts.applied, service.counts.abandoned) == (5_000, 0)


async def test_credentials_that_end_end_the_service_after_a_commit(
    path: Path, prefix: str, tmp_path: Path
) -> None:
    config = tmp_path / "nats.conf"
    user = "authorization { user: bot, password: %s }"
    await to_thread.run_sync(config.write_text, user % "old")
    with nats_server(config=config) as server:
        url = server.url.replace("//", "//bot:old@")
        bot = Bot(await nats.connect(url), prefix)
        with pytest.raises(ConnectionLost, match="lets us in no more: Authorization Violation"):
            async with DatabaseService(url, path, prefix=prefix):
                await flood(bot, 1_000)
                await bot.settled()
                await bot.nc.close()
                await to_thread.run_sync(config.write_text, user % "new")
                server.send(signal.SIGHUP)
                await anyio.sleep(20)
    assert await said(path) == list(range(1_000))


async def test_a_connection_closed_for_good_ends_the_service_after_a_commit(
    bot: Bot, path: Path, server: NatsServer
) -> None:
    nc = await nats.connect(server.url)
    with pytest.raises(ConnectionLost, match="closed for good: User Authentication Expired"):
        async with DatabaseService(nc, path, prefix=bot.prefix):
            await flood(bot, 1_000)
            await bot.settled()
            await nc._process_err("'User Authentication Expired'")  # as its read loop would
            await anyio.sleep(10)
    assert await said(path) == list(range(1_000))


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


async def test_a_subscription_that_is_refused_keeps_the_service_from_starting(
    path: Path, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tmp_path / "nats.conf"
    await to_thread.run_sync(config.write_text, denying(prefix, ">"))
    with nats_server(config=config) as server:
        url = server.url.replace("//", "//a:b@")
        with pytest.raises(ConnectionRefused, match="the server refuses the subscription"):
            await DatabaseService(url, path, prefix=prefix).start()
    assert "serving" not in caplog.text


async def test_a_subscription_that_is_refused_later_ends_the_service(
    path: Path, prefix: str, tmp_path: Path
) -> None:
    config = tmp_path / "nats.conf"
    await to_thread.run_sync(config.write_text, denying("nothing", "at.all"))
    with nats_server(config=config) as server:
        url = server.url.replace("//", "//a:b@")
        with pytest.raises(PermissionDenied, match="the server refuses the subscription"):
            async with DatabaseService(url, path, prefix=prefix):
                await to_thread.run_sync(config.write_text, denying(prefix, ">"))
                server.send(signal.SIGHUP)
                await anyio.sleep(10)


# What keeps it from starting


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


async def test_a_server_that_is_not_there_is_waited_for(
    path: Path, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    with nats_server() as server:
        await to_thread.run_sync(server.kill)
        url = server.url.replace("//", "//bot:secret@")
        with anyio.move_on_after(2):
            await DatabaseService(url, path, prefix=prefix).start()
        waiting = [line for line in caplog.messages if "waiting for NATS" in line]
        assert 2 <= len(waiting) <= 3, "at once, after 0.5 s, after 1.5 s"
        assert f"waiting for NATS at {server.url}: " in waiting[0]
        assert "secret" not in caplog.text
        service = DatabaseService(server.url, path, prefix=prefix)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(to_thread.run_sync, server.start)
            async with service:
                pass


async def test_what_cannot_be_served_is_said_before_a_connection_is_made(tmp_path: Path) -> None:
    url = "nats://127.0.0.1:1"
    with pytest.raises(CannotOpen):
        await DatabaseService(url, tmp_path).start()
    with pytest.raises(NotAdoptable, match="object cannot serve the operation user"):
        await DatabaseService(url, object()).start()


def test_a_prefix_that_begins_no_subject_is_refused() -> None:
    for prefix in ("", "rosey.", ".db", "rosey.*", "a b", ">", "a\n"):
        with pytest.raises(InvalidSettings):
            DatabaseService("nats://127.0.0.1:1", prefix=prefix)


async def test_a_url_that_is_none_is_refused(path: Path) -> None:
    with pytest.raises(InvalidSettings):
        await DatabaseService("nats://127.0.0.1:99999", path).start()


async def test_a_service_serves_once_at_a_time(path: Path, service_of: ServiceOf) -> None:
    service = service_of(path)
    async with service:
        with pytest.raises(AlreadyServing):
            await service.serve()
