"""The service inside a bot, on asyncio and on trio."""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import anyio
import psutil
import pytest
import trio
from anyio import CancelScope, to_thread
from msgspec.structs import replace
from support.databases import Traced, rows
from support.servers import NatsServer, free_port, nats_server

from rosey_dbsvc import DatabaseClient, Durable
from rosey_dbsvc.embed import serve
from rosey_dbsvc.errors import ConnectionLost, DatabaseInUse, NotADatabase, UnknownReply
from rosey_dbsvc.settings import Address, Settings

pytestmark = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])

MESSAGES = "SELECT message FROM recent_chat ORDER BY id"


@pytest.fixture
def settings(server: NatsServer, path: Path, prefix: str) -> Settings:
    return Settings(nats_urls=(server.url,), db_path=str(path), prefix=prefix)


def portals() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "rosey-dbsvc"]


async def test_published_events_are_applied_when_the_bot_s_task_group_ends(
    settings: Settings, path: Path
) -> None:
    async with anyio.create_task_group() as tg:
        db = await tg.start(serve, settings)
        await db.user_joined("alice")
        await db.user_chat_message("alice", "0")
        assert [row["message"] for row in await db.recent_chat()] == ["0"]
        for number in range(1, 500):
            await db.user_chat_message("alice", str(number))
        tg.cancel_scope.cancel()
    assert await rows(path, MESSAGES) == [(str(number),) for number in range(500)]
    assert portals() == []


async def test_a_host_that_is_cancelled_waits_for_the_clean_stop(
    settings: Settings, path: Path
) -> None:
    with CancelScope() as scope:
        async with anyio.create_task_group() as tg:
            db = await tg.start(serve, settings)
            for number in range(100):
                await db.user_chat_message("alice", str(number))
            scope.cancel()
    assert len(await rows(path, MESSAGES)) == 100


async def test_no_statement_runs_in_the_host_s_thread(settings: Settings) -> None:
    Traced.threads.clear()
    traced = replace(settings, database="support.databases:Traced")
    async with anyio.create_task_group() as tg:
        db = await tg.start(serve, traced)
        await db.user_joined("alice")
        await db.user_chat_message("alice", "hi")
        assert len(await db.recent_chat()) == 1
        tg.cancel_scope.cancel()
    assert len(Traced.threads) >= 1
    assert threading.get_ident() not in Traced.threads


async def test_an_error_at_the_start_is_raised_as_it_is(settings: Settings) -> None:
    async with anyio.create_task_group() as tg:
        await tg.start(serve, settings)
        with pytest.raises(DatabaseInUse):
            await tg.start(serve, settings)
        tg.cancel_scope.cancel()
    assert portals() == []


async def test_an_error_of_the_service_reaches_the_task_group_as_it_is(
    settings: Settings, path: Path
) -> None:
    adopted = replace(settings, database="support.databases:OldBotDatabase")
    with pytest.raises(BaseExceptionGroup) as crashed:
        async with anyio.create_task_group() as tg:
            db = await tg.start(serve, adopted)
            await db.user_joined("alice")
            with pytest.raises(UnknownReply):  # its rows are different
                await db.recent_chat()
            await to_thread.run_sync(path.write_bytes, b"not a database" * 4000)
            while True:
                await db.user_joined("bob")
                await anyio.sleep(0.01)
    assert [type(error) for error in crashed.value.exceptions] == [NotADatabase]
    assert portals() == []


async def test_a_call_after_the_stop_is_connection_lost(settings: Settings) -> None:
    async with anyio.create_task_group() as tg:
        db = await tg.start(serve, settings)
        tg.cancel_scope.cancel()
    for call in (db.recent_chat, lambda: db.user_joined("alice")):
        with pytest.raises(ConnectionLost):
            await call()


@pytest.mark.parametrize("durable", [False, True])
async def test_calls_in_progress_at_the_stop_end_with_connection_lost_at_once(
    path: Path, tmp_path: Path, durable: bool
) -> None:
    ended: list[type[BaseException]] = []

    async def call(what: Callable[[], Awaitable[object]], *, task_status: Any) -> None:
        task_status.started()
        try:
            while True:
                await what()
        except Exception as error:  # noqa: BLE001  which is what is looked at
            ended.append(type(error))

    with nats_server("-js", "-sd", str(tmp_path / "js")) as server:
        settings = Settings(
            nats_urls=(server.url,), db_path=str(path), durable=Durable() if durable else None
        )
        with anyio.fail_after(8):
            async with anyio.create_task_group() as bot:
                with CancelScope() as scope:
                    async with anyio.create_task_group() as tg:
                        db = await tg.start(serve, settings)
                        for _ in range(15):
                            await bot.start(call, db.recent_chat)
                            await bot.start(call, partial(db.user_joined, "alice"))
                        await db.recent_chat()
                        scope.cancel()
    assert ended == [ConnectionLost] * 30


async def test_a_call_can_be_cancelled(settings: Settings) -> None:
    async with anyio.create_task_group() as tg:
        db = await tg.start(serve, settings)
        with anyio.move_on_after(0):
            await db.recent_chat()
        assert await db.recent_chat() == []
        tg.cancel_scope.cancel()


async def test_a_cancelled_start_leaves_nothing_behind(path: Path, prefix: str) -> None:
    settings = Settings(nats_urls=("nats://127.0.0.1:1",), db_path=str(path), prefix=prefix)
    async with anyio.create_task_group() as tg:
        with anyio.move_on_after(0.3) as waited:
            await tg.start(serve, settings)
    assert waited.cancelled_caught
    assert portals() == []


async def test_in_durable_mode_published_events_are_stored(tmp_path: Path, path: Path) -> None:
    with nats_server("-js", "-sd", str(tmp_path / "js")) as server:
        settings = Settings(nats_urls=(server.url,), db_path=str(path), durable=Durable())
        for turn in range(2):
            async with anyio.create_task_group() as tg:
                db = await tg.start(serve, settings)
                await db.user_chat_message("alice", str(turn))
                found = [row["message"] for row in await db.recent_chat()]
                assert found == [*map(str, range(turn + 1))]
                tg.cancel_scope.cancel()


async def test_without_a_server_one_is_started(path: Path) -> None:
    settings = Settings(db_path=str(path), local_port=free_port())
    async with anyio.create_task_group() as tg:
        db = await tg.start(serve, settings)
        await db.user_chat_message("alice", "hi")
        tg.cancel_scope.cancel()
    assert await rows(path, MESSAGES) == [("hi",)]


async def test_metrics_are_served_until_the_stop(settings: Settings) -> None:
    def collect() -> str:
        with urlopen(f"http://{address}/metrics", timeout=10) as response:
            return response.read().decode()  # type: ignore[no-any-return]

    address = Address("127.0.0.1", free_port())
    async with anyio.create_task_group() as tg:
        db = await tg.start(serve, replace(settings, metrics=address))
        await db.user_joined("alice")
        await db.recent_chat()
        assert "events_applied_total" in await to_thread.run_sync(collect)
        tg.cancel_scope.cancel()
    with pytest.raises(URLError):
        await to_thread.run_sync(collect)


async def cycle(settings: Settings, times: int, use: Callable[[Any], Awaitable[Any]]) -> None:
    for _ in range(times):
        async with anyio.create_task_group() as tg:
            await use(await tg.start(serve, settings))
            tg.cancel_scope.cancel()


@pytest.mark.soak
@pytest.mark.timeout(300)
async def test_a_thousand_runs_leave_no_thread_no_task_and_no_file(
    settings: Settings, anyio_backend: str
) -> None:
    def tasks() -> int:
        if anyio_backend == "trio":
            return trio.lowlevel.current_statistics().tasks_living
        return len(asyncio.all_tasks())

    async def join(db: DatabaseClient) -> None:
        await db.user_joined("alice")

    process = psutil.Process()
    await cycle(settings, 20, join)
    gc.collect()
    before = process.num_fds(), threading.active_count(), tasks()
    await cycle(settings, 1000, join)
    gc.collect()
    assert process.num_fds() == before[0]
    assert threading.active_count() <= before[1]
    assert tasks() == before[2]
    assert portals() == []
