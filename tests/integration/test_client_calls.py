"""DatabaseClient in place of a database."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import anyio
import nats
import pytest
from anyio import to_thread
from nats.aio.client import Client
from nats.aio.msg import Msg
from support.databases import rows
from support.servers import NatsServer
from support.services import ServiceOf

from rosey_dbsvc import BotDatabase, DatabaseClient, DatabaseService
from rosey_dbsvc.errors import (
    ConnectionLost,
    InvalidPayload,
    InvalidSettings,
    NoServer,
    NotServed,
    Refused,
    TimedOut,
    UnknownReply,
)

T = TypeVar("T")


@pytest.fixture
def db(nc: Client, prefix: str) -> DatabaseClient:
    return DatabaseClient(nc, prefix=prefix)


@pytest.fixture
async def served(path: Path, service_of: ServiceOf) -> AsyncIterator[Path]:
    async with service_of(path):
        yield path


async def live(db: Any, settle: Callable[[Any], Awaitable[Any]]) -> list[Any]:
    """Call every method of a database, or of a client in its place."""
    await settle(db.user_joined("alice"))
    await settle(db.user_chat_message("alice", "hi"))
    await settle(db.user_chat_message("alice", "again"))
    await settle(db.user_chat_message("server", "welcome"))
    await settle(db.log_user_count(3, 4))
    await settle(db.update_high_water_mark(3, 4))
    await settle(db.update_high_water_mark(5))
    await settle(db.update_current_status(bot_name="Rosey", bot_rank=2.5, bot_afk=False))
    await settle(db.mark_outbound_sent(1))
    found = [await settle(db.get_recent_chat()), await settle(db.get_recent_chat(limit=1))]
    found.append(await settle(db.get_unsent_outbound_messages(limit=5, max_retries=2)))
    await settle(db.user_left("alice"))
    await settle(db.get_recent_chat())
    return found


TABLES = ("user_stats", "recent_chat", "user_count_history", "channel_stats", "current_status")


async def timeless(path: Path) -> dict[str, Any]:
    """Return the contents of the tables without times."""
    columns = {table: await rows(path, f"SELECT * FROM {table}") for table in TABLES}
    return {
        table: [[value for value in row if not is_time(value)] for row in found]
        for table, found in columns.items()
    }


def is_time(value: Any) -> bool:
    return isinstance(value, int) and value > 1_700_000_000


def queue(path: Path) -> None:
    database = BotDatabase(path)
    for message in ("first", "second"):
        database.enqueue_outbound_message(message)
    database.close()


def to_its_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that waits for nothing, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise AssertionError("it waits")


async def test_the_same_calls_do_the_same_as_with_a_database(
    tmp_path: Path, db: DatabaseClient, service_of: ServiceOf
) -> None:
    async def awaited(call: Awaitable[Any]) -> Any:
        return await call

    async def direct(result: Any) -> Any:
        return result

    paths = [tmp_path / "direct.db", tmp_path / "client.db"]
    for path in paths:
        await to_thread.run_sync(queue, path)
    database = await to_thread.run_sync(BotDatabase, paths[0])
    before = await to_thread.run_sync(lambda: to_its_end(live(database, direct)))
    await to_thread.run_sync(database.close)
    async with service_of(paths[1]):
        after = await live(db, awaited)
    for lines in (before, after):
        for line in (each for found in lines for each in found):
            assert is_time(line.pop("timestamp"))
    assert before == after
    assert [row["message"] for row in after[0]] == ["hi", "again"]
    assert [row["message"] for row in after[2]] == ["second"]
    assert await timeless(paths[0]) == await timeless(paths[1])


@pytest.mark.usefixtures("served")
async def test_recent_chat_has_the_default_limit_of_the_specification(db: DatabaseClient) -> None:
    for number in range(60):
        await db.user_chat_message("alice", str(number))
    assert [row["message"] for row in await db.recent_chat()] == [*map(str, range(10, 60))]


@pytest.mark.parametrize(
    "call",
    [
        lambda db: db.user_joined(""),
        lambda db: db.user_joined(7),
        lambda db: db.user_joined("x" * 256),
        lambda db: db.user_joined("\ud800"),
        lambda db: db.user_chat_message("alice", "x" * 65_537),
        lambda db: db.log_user_count(-1, 0),
        lambda db: db.log_user_count(True, 0),
        lambda db: db.update_high_water_mark("3"),
        lambda db: db.update_current_status(bot_name=3),
        lambda db: db.update_current_status(bot_rank=float("nan")),
        lambda db: db.update_current_status(bot_rank=float("inf")),
        lambda db: db.user_chat_message("alice", 0),
        lambda db: db.update_high_water_mark(1, ""),
        lambda db: db.mark_outbound_sent(0),
        lambda db: db.get_recent_chat(limit=0),
        lambda db: db.get_recent_chat(limit=1001),
        lambda db: db.get_unsent_outbound_messages(max_retries=-1),
    ],
)
async def test_an_invalid_argument_is_not_published(
    nc: Client, db: DatabaseClient, prefix: str, call: Callable[[DatabaseClient], Awaitable[Any]]
) -> None:
    subscription = await nc.subscribe(f"{prefix}.>")
    with pytest.raises(InvalidPayload) as refused:
        await call(db)
    assert str(refused.value).isprintable()
    await nc.flush()
    assert subscription.pending_msgs == 0


async def test_without_a_service_a_query_is_an_error_and_an_event_is_lost(
    db: DatabaseClient,
) -> None:
    await db.user_joined("alice")
    with pytest.raises(NotServed, match=r"no service listens on .*recent_chat\.get"):
        await db.get_recent_chat()


async def answer(nc: Client, prefix: str, give: Callable[[Msg], Awaitable[None]]) -> None:
    await nc.subscribe(f"{prefix}.stats.recent_chat.get", cb=give)
    await nc.flush()


async def test_a_query_without_a_reply_times_out(nc: Client, prefix: str) -> None:
    async def give(_: Msg) -> None:
        pass

    await answer(nc, prefix, give)
    db = DatabaseClient(nc, prefix=prefix, timeout=0.05)
    with pytest.raises(TimedOut, match=r"no reply to .* within 0\.05 s"):
        await db.get_recent_chat()


@pytest.mark.parametrize(("code", "means"), [("413", 413), ("503", 503), ("x", 500), ("", 500)])
async def test_an_error_reply_is_refused_with_the_code_and_the_text_of_its_headers(
    nc: Client, prefix: str, db: DatabaseClient, code: str, means: int
) -> None:
    async def give(msg: Msg) -> None:
        headers = {"Nats-Service-Error": "request less", "Nats-Service-Error-Code": code}
        await nc.publish(msg.reply, b"[]", headers=headers)

    await answer(nc, prefix, give)
    with pytest.raises(Refused, match="request less") as refused:
        await db.get_recent_chat()
    assert refused.value.code == means


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"null", b"[1]", b'[{"message": 1}]', b"\xff", b"[" * 100_000]
)
async def test_a_reply_that_cannot_be_decoded_is_an_unknown_reply(
    nc: Client, prefix: str, db: DatabaseClient, body: bytes
) -> None:
    async def give(msg: Msg) -> None:
        await nc.publish(msg.reply, body)

    await answer(nc, prefix, give)
    with pytest.raises(UnknownReply):
        await db.get_recent_chat()


async def test_unknown_fields_of_a_reply_are_ignored(
    nc: Client, prefix: str, db: DatabaseClient
) -> None:
    row = {"timestamp": 1, "username": "alice", "message": "hi"}

    async def give(msg: Msg) -> None:
        await nc.publish(msg.reply, json.dumps([row | {"mood": "good"}]).encode())

    await answer(nc, prefix, give)
    assert await db.get_recent_chat() == [row]


async def test_with_a_url_the_client_connects_and_closes_the_connection(
    server: NatsServer, prefix: str, service_of: ServiceOf, path: Path
) -> None:
    async with service_of(path):
        async with DatabaseClient(server.url, prefix=prefix) as db:
            await db.user_chat_message("alice", "hi")
            assert [row["message"] for row in await db.recent_chat()] == ["hi"]
        with pytest.raises(ConnectionLost, match="use `async with"):
            await db.recent_chat()


async def test_a_query_in_progress_ends_with_connection_lost_when_the_client_closes(
    server: NatsServer, nc: Client, prefix: str
) -> None:
    requested = anyio.Event()

    async def give(_: Msg) -> None:
        requested.set()

    async def request(db: DatabaseClient) -> None:
        with pytest.raises(ConnectionLost, match="the client is closed"):
            await db.recent_chat()

    await answer(nc, prefix, give)
    with anyio.fail_after(5):
        async with (
            anyio.create_task_group() as tasks,
            DatabaseClient(server.url, prefix=prefix) as db,
        ):
            tasks.start_soon(request, db)
            await requested.wait()


async def test_a_closed_transport_takes_no_calls(server: NatsServer, prefix: str) -> None:
    async with DatabaseClient(server.url, prefix=prefix) as db:
        held = db.over(lambda wire: wire)
    for call in (held.recent_chat, lambda: held.user_joined("alice")):
        with pytest.raises(ConnectionLost, match="the client is closed"):
            await call()


async def test_a_given_connection_stays_open(nc: Client, prefix: str) -> None:
    async with DatabaseClient(nc, prefix=prefix):
        pass
    assert nc.is_connected


async def test_calls_over_a_closed_connection_are_connection_lost(
    server: NatsServer, prefix: str
) -> None:
    nc = await nats.connect(server.url)
    await nc.close()
    db = DatabaseClient(nc, prefix=prefix)
    with pytest.raises(ConnectionLost, match=r"user\.joined: connection closed"):
        await db.user_joined("alice")
    with pytest.raises(ConnectionLost, match=r"recent_chat\.get: connection closed"):
        await db.recent_chat()


async def test_entering_without_a_server_is_no_server() -> None:
    with pytest.raises(NoServer):
        async with DatabaseClient("nats://127.0.0.1:1"):
            pass


async def test_an_invalid_prefix_is_refused(nc: Client) -> None:
    with pytest.raises(InvalidSettings):
        DatabaseClient(nc, prefix="rosey.*")


async def test_a_payload_above_the_server_s_limit_is_an_invalid_payload(
    db: DatabaseClient,
) -> None:
    long = "\x01" * 65_536
    with pytest.raises(InvalidPayload, match="larger than the server's max_payload"):
        await db.update_current_status(bot_name=long, channel_name=long, current_media_title=long)


@pytest.mark.usefixtures("served")
async def test_an_instance_of_a_subclass_of_str_is_a_string(db: DatabaseClient) -> None:
    class Markup(str):
        __slots__ = ()

    await db.user_chat_message(Markup("alice"), Markup("hi"))
    assert [row["message"] for row in await db.recent_chat()] == ["hi"]


async def test_a_client_is_entered_once(server: NatsServer, prefix: str) -> None:
    async with DatabaseClient(server.url, prefix=prefix) as db:
        with pytest.raises(InvalidSettings, match="entered already"):
            await db.__aenter__()
        await db.user_joined("alice")


@pytest.mark.parametrize("arguments", [{"nats_client": []}, {"nats_client": ""}, {"timeout": -1}])
async def test_invalid_settings_are_refused(server: NatsServer, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings):
        DatabaseClient(**{"nats_client": server.url} | arguments)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_on_trio_a_client_is_refused_with_a_hint(anyio_backend: str) -> None:
    assert anyio_backend == "trio"
    with pytest.raises(InvalidSettings, match=r"on trio, use rosey_dbsvc\.embed\.serve"):
        await DatabaseClient("nats://127.0.0.1:1").__aenter__()


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_on_trio_a_service_is_refused_with_a_hint(anyio_backend: str) -> None:
    assert anyio_backend == "trio"
    with pytest.raises(InvalidSettings, match=r"on trio, use rosey_dbsvc\.embed\.serve"):
        await DatabaseService("nats://127.0.0.1:1").serve()


@pytest.mark.parametrize("given", ["", [], 4222, None, ["nats://localhost", ""], object(), b"nats"])
def test_what_is_neither_a_connection_nor_a_url_is_refused(given: Any) -> None:
    with pytest.raises(InvalidSettings, match="a connection of nats-py, or nats://host:4222"):
        DatabaseClient(given)
