"""What a bot calls in place of a database."""

import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import anyio
import nats
import pytest
from anyio import to_thread
from nats.aio.client import Client
from nats.aio.msg import Msg
from support.databases import rows
from support.flood import quiet
from support.servers import NatsServer, nats_server

from rosey_dbsvc import BotDatabase, ChatLine, DatabaseClient, DatabaseService, Durable
from rosey_dbsvc.errors import (
    ConnectionLost,
    InvalidPayload,
    InvalidSettings,
    NoServer,
    NotServed,
    NotStored,
    Refused,
    TimedOut,
    UnknownReply,
)
from rosey_dbsvc.messaging import transport as wire

ServiceOf = Callable[..., DatabaseService]
T = TypeVar("T")


@pytest.fixture
def db(nc: Client, prefix: str) -> DatabaseClient:
    return DatabaseClient(nc, prefix=prefix)


@pytest.fixture
async def served(path: Path, service_of: ServiceOf) -> AsyncIterator[Path]:
    async with service_of(path):
        yield path


async def live(db: Any, settle: Callable[[Any], Awaitable[Any]]) -> list[Any]:
    """A bot's day, with a database or a client in its place."""
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
    """Return what is in the tables, but for the times."""
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
async def test_recent_chat_is_what_the_specification_asks_for(db: DatabaseClient) -> None:
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
async def test_an_argument_that_cannot_be_does_not_leave(
    nc: Client, db: DatabaseClient, prefix: str, call: Callable[[DatabaseClient], Awaitable[Any]]
) -> None:
    subscription = await nc.subscribe(f"{prefix}.>")
    with pytest.raises(InvalidPayload) as refused:
        await call(db)
    assert str(refused.value).isprintable()
    await nc.flush()
    assert subscription.pending_msgs == 0


async def test_without_a_service_a_query_says_so_and_an_event_is_gone(db: DatabaseClient) -> None:
    await db.user_joined("alice")
    with pytest.raises(NotServed, match=r"no service listens at .*recent_chat\.get"):
        await db.get_recent_chat()


async def answer(nc: Client, prefix: str, give: Callable[[Msg], Awaitable[None]]) -> None:
    await nc.subscribe(f"{prefix}.stats.recent_chat.get", cb=give)
    await nc.flush()


async def test_a_service_that_does_not_answer_is_not_waited_for_longer(
    nc: Client, prefix: str
) -> None:
    async def give(_: Msg) -> None:
        pass

    await answer(nc, prefix, give)
    db = DatabaseClient(nc, prefix=prefix, timeout=0.05)
    with pytest.raises(TimedOut, match=r"no answer to .* within 0\.05 s"):
        await db.get_recent_chat()


@pytest.mark.parametrize(("code", "means"), [("413", 413), ("503", 503), ("x", 500), ("", 500)])
async def test_a_refusal_has_the_code_and_the_text_of_the_headers(
    nc: Client, prefix: str, db: DatabaseClient, code: str, means: int
) -> None:
    async def give(msg: Msg) -> None:
        headers = {"Nats-Service-Error": "ask for less", "Nats-Service-Error-Code": code}
        await nc.publish(msg.reply, b"[]", headers=headers)

    await answer(nc, prefix, give)
    with pytest.raises(Refused, match="ask for less") as refused:
        await db.get_recent_chat()
    assert refused.value.code == means


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"null", b"[1]", b'[{"message": 1}]', b"\xff", b"[" * 100_000]
)
async def test_a_reply_of_something_else_is_an_error_of_ours(
    nc: Client, prefix: str, db: DatabaseClient, body: bytes
) -> None:
    async def give(msg: Msg) -> None:
        await nc.publish(msg.reply, body)

    await answer(nc, prefix, give)
    with pytest.raises(UnknownReply):
        await db.get_recent_chat()


async def test_a_reply_may_say_more_than_is_known(
    nc: Client, prefix: str, db: DatabaseClient
) -> None:
    row = {"timestamp": 1, "username": "alice", "message": "hi"}

    async def give(msg: Msg) -> None:
        await nc.publish(msg.reply, json.dumps([row | {"mood": "good"}]).encode())

    await answer(nc, prefix, give)
    assert await db.get_recent_chat() == [row]


async def test_a_url_is_connected_to_and_left(
    server: NatsServer, prefix: str, service_of: ServiceOf, path: Path
) -> None:
    async with service_of(path):
        async with DatabaseClient(server.url, prefix=prefix) as db:
            await db.user_chat_message("alice", "hi")
            assert [row["message"] for row in await db.recent_chat()] == ["hi"]
        with pytest.raises(ConnectionLost, match="use `async with"):
            await db.recent_chat()


async def test_who_waits_for_an_answer_when_the_client_is_left_is_told(
    server: NatsServer, nc: Client, prefix: str
) -> None:
    asked = anyio.Event()

    async def give(_: Msg) -> None:
        asked.set()

    async def ask(db: DatabaseClient) -> None:
        with pytest.raises(ConnectionLost, match="the connection is left"):
            await db.recent_chat()

    await answer(nc, prefix, give)
    with anyio.fail_after(5):
        async with (
            anyio.create_task_group() as tasks,
            DatabaseClient(server.url, prefix=prefix) as db,
        ):
            tasks.start_soon(ask, db)
            await asked.wait()


async def test_who_still_holds_a_wire_that_is_left_says_nothing_more_over_it(
    server: NatsServer, prefix: str
) -> None:
    async with DatabaseClient(server.url, prefix=prefix) as db:
        held = db.over(lambda wire: wire)
    for call in (held.recent_chat, lambda: held.user_joined("alice")):
        with pytest.raises(ConnectionLost, match="the connection is left"):
            await call()


async def test_a_connection_that_is_given_is_left_open(nc: Client, prefix: str) -> None:
    async with DatabaseClient(nc, prefix=prefix):
        pass
    assert nc.is_connected


async def test_a_connection_that_is_closed_is_an_error_of_ours(
    server: NatsServer, prefix: str
) -> None:
    nc = await nats.connect(server.url)
    await nc.close()
    db = DatabaseClient(nc, prefix=prefix)
    with pytest.raises(ConnectionLost, match=r"user\.joined: connection closed"):
        await db.user_joined("alice")
    with pytest.raises(ConnectionLost, match=r"recent_chat\.get: connection closed"):
        await db.recent_chat()


async def test_a_server_that_is_not_there_is_an_error_of_ours() -> None:
    with pytest.raises(NoServer):
        async with DatabaseClient("nats://127.0.0.1:1"):
            pass


async def test_a_prefix_that_begins_no_subject_is_refused(nc: Client) -> None:
    with pytest.raises(InvalidSettings):
        DatabaseClient(nc, prefix="rosey.*")


# With the stream's word

STREAM_AT_3 = b'{"error": {"code": 400, "description": "wrong last sequence: 3"}}'


async def test_over_a_dying_server_every_event_is_stored_once(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "ACKNOWLEDGED_WITHIN", 0.2)
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
            said = await all_of(db, 300)
        await nc.close()
    assert [int(row["message"]) for row in said] == [*range(300)]


async def test_a_server_that_is_away_at_the_first_event_is_waited_for(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "ACKNOWLEDGED_WITHIN", 0.1)
    with nats_server("-js", "-sd", str(tmp_path / "js")) as server:
        nc = await nats.connect(server.url)
        async with DatabaseService(server.url, path, durable=Durable()):
            db = DatabaseClient(nc, durable=True)
            async with anyio.create_task_group() as tasks:
                server.send(signal.SIGSTOP)
                published = nc.stats["out_msgs"]
                tasks.start_soon(db.user_joined, "alice")
                while nc.stats["out_msgs"] < published + 3:  # asked, and asked again
                    await anyio.sleep(0.01)
                server.send(signal.SIGCONT)
            await db.recent_chat()
            assert await rows(path, "SELECT username FROM user_stats") == [("alice",)]
        await nc.close()


async def all_of(db: DatabaseClient, count: int) -> list[ChatLine]:
    """Ask until the service is connected again and has caught up."""
    said: list[ChatLine] = []
    while len(said) < count:
        with suppress(NotServed):
            said = await db.recent_chat(limit=1000)
        await anyio.sleep(0.05)
    return said


async def test_jetstream_that_cannot_now_is_waited_for(
    nc: Client, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "PAUSE", 0.01)
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


async def test_an_acknowledgement_that_is_lost_does_not_double_the_event(
    tmp_path: Path, path: Path
) -> None:
    class Deaf(Client):
        """Loses every other answer."""

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
            said = await db.recent_chat()
        await nc.close()
    assert [int(row["message"]) for row in said] == [*range(10)]


async def test_without_a_stream_an_event_is_not_taken_for_stored(
    nc: Client, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "STORED_WITHIN", 0.3)
    db = DatabaseClient(nc, prefix=prefix, durable=True)
    with pytest.raises(NotStored, match=r"no stream has acknowledged .*user\.joined"):
        await db.user_joined("alice")


@pytest.mark.parametrize("subject", ["message.log", "*.*"])
@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b"{}", b"null", b'{"error": {}}'])
async def test_who_answers_and_is_no_stream_is_an_error_of_ours(
    nc: Client, prefix: str, subject: str, body: bytes
) -> None:
    async def give(msg: Msg) -> None:
        await nc.publish(msg.reply, body)

    await nc.subscribe(f"{prefix}.{subject}", cb=give)
    await nc.flush()
    with pytest.raises(NotStored, match="no stream"):
        await DatabaseClient(nc, prefix=prefix, durable=True).user_joined("alice")


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b"{}", b"null"])
async def test_an_acknowledgement_that_is_none_is_an_error_of_ours(
    nc: Client, prefix: str, body: bytes
) -> None:
    async def give(msg: Msg) -> None:
        is_question = msg.subject.endswith("message.log")
        await nc.publish(msg.reply, STREAM_AT_3 if is_question else body)

    await nc.subscribe(f"{prefix}.*.*", cb=give)
    await nc.flush()
    with pytest.raises(NotStored, match=r"user\.joined is no stream"):
        await DatabaseClient(nc, prefix=prefix, durable=True).user_joined("alice")


async def test_a_service_without_a_stream_is_told_nothing(
    nc: Client,
    prefix: str,
    path: Path,
    service_of: ServiceOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "ACKNOWLEDGED_WITHIN", 0.05)
    async with service_of(path):
        db = DatabaseClient(nc, prefix=prefix, durable=True)
        with pytest.raises(NotStored, match="is the service run with --durable"):
            await db.user_chat_message("alice", "hi")
        with pytest.raises(NotStored):
            await db.user_joined("alice")
        assert await db.recent_chat() == []
    assert await rows(path, "SELECT * FROM user_stats") == []


async def test_an_event_that_is_under_way_when_the_client_is_left_is_an_error_of_ours(
    server: NatsServer, nc: Client, prefix: str
) -> None:
    told = anyio.Event()

    async def hear(_: Msg) -> None:
        told.set()

    async def tell(db: DatabaseClient) -> None:
        with pytest.raises(ConnectionLost):
            await db.user_joined("alice")

    await nc.subscribe(f"{prefix}.>", cb=hear)
    await nc.flush()
    with anyio.fail_after(1.5):
        async with (
            anyio.create_task_group() as tasks,
            DatabaseClient(server.url, prefix=prefix, durable=True) as db,
        ):
            tasks.start_soon(tell, db)
            await told.wait()


async def test_a_payload_that_the_server_does_not_take_is_an_argument_s_fault(
    db: DatabaseClient,
) -> None:
    long = "\x01" * 65_536
    with pytest.raises(InvalidPayload, match="more than the server takes"):
        await db.update_current_status(bot_name=long, channel_name=long, current_media_title=long)


@pytest.mark.usefixtures("served")
async def test_text_of_a_class_of_its_own_is_text(db: DatabaseClient) -> None:
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
async def test_settings_that_cannot_be_are_refused(
    server: NatsServer, arguments: dict[str, Any]
) -> None:
    with pytest.raises(InvalidSettings):
        DatabaseClient(**{"nats_client": server.url} | arguments)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_on_trio_it_says_what_to_use(anyio_backend: str) -> None:
    assert anyio_backend == "trio"
    with pytest.raises(InvalidSettings, match=r"on trio, rosey_dbsvc\.host\.serve"):
        await DatabaseClient("nats://127.0.0.1:1").__aenter__()


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_service_on_trio_says_what_to_use(anyio_backend: str) -> None:
    assert anyio_backend == "trio"
    with pytest.raises(InvalidSettings, match=r"on trio, rosey_dbsvc\.host\.serve"):
        await DatabaseService("nats://127.0.0.1:1").serve()


@pytest.mark.parametrize("given", ["", [], 4222, None, ["nats://localhost", ""], object(), b"nats"])
def test_what_is_neither_a_connection_nor_a_url_is_refused_in_one_line(given: Any) -> None:
    with pytest.raises(InvalidSettings, match="a connection of nats-py's, or nats://host:4222"):
        DatabaseClient(given)
