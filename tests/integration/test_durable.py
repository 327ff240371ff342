"""Durable mode: what the stream has is in the database, once and in order."""

import json
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import nats
import pytest
from anyio import to_thread
from nats.aio.client import Client
from nats.js.api import RetentionPolicy, StreamConfig, SubjectTransform
from support.bots import Bot
from support.databases import OldBotDatabase, SpecDatabase, locked, rows
from support.log import contents, info, numbers, publish
from support.servers import NatsServer, nats_server

from rosey_dbsvc import BotDatabase, DatabaseService, Durable, errors
from rosey_dbsvc.messaging import stream_reader as pulling
from rosey_dbsvc.messaging.stream import Stream
from rosey_dbsvc.operations.base import EVENTS
from rosey_dbsvc.pipeline import follower

ServiceOf = Callable[..., DatabaseService]


@pytest.fixture(scope="session")
def stream_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server("-js", "-sd", str(tmp_path_factory.mktemp("jetstream"))) as server:
        yield server


@pytest.fixture
async def nc(stream_server: NatsServer) -> AsyncIterator[Client]:
    client = await nats.connect(stream_server.url)
    yield client
    await client.close()


@pytest.fixture
def stream(prefix: str) -> str:
    return prefix.replace(".", "_")


@pytest.fixture
def service_of(stream_server: NatsServer, prefix: str, stream: str) -> ServiceOf:
    def make(database: object, **options: Any) -> DatabaseService:
        durable = {name: options.pop(name) for name in list(options) if name in FIELDS}
        return DatabaseService(
            stream_server.url,
            database,
            durable=Durable(**{"stream": stream, **durable}),
            **{"prefix": prefix, **options},
        )

    return make


FIELDS = Durable.__struct_fields__


@pytest.fixture
def bot(nc: Client, prefix: str) -> Bot:
    return Bot(nc, prefix)


async def read(path: Path) -> list[int]:
    return await to_thread.run_sync(numbers, path)


async def test_the_stream_is_made_with_the_seven_events_and_never_the_queries(
    nc: Client, path: Path, prefix: str, stream: str, service_of: ServiceOf
) -> None:
    async with service_of(path, max_age=3600, max_bytes=10_000_000):
        config = (await info(nc, stream)).config
    assert sorted(config.subjects or []) == sorted(f"{prefix}.{event.name}" for event in EVENTS)
    assert len(config.subjects or []) == 7
    assert config.retention == RetentionPolicy.LIMITS
    assert (config.storage, config.discard, config.num_replicas) == ("file", "old", 1)
    assert (config.max_age, config.max_bytes) == (3600, 10_000_000)


async def test_what_is_published_while_the_service_is_down_is_there_when_it_is_up(
    nc: Client, path: Path, prefix: str, service_of: ServiceOf
) -> None:
    async with service_of(path):
        await publish(nc, prefix, range(100))
    await publish(nc, prefix, range(100, 300))
    async with service_of(path) as service:
        await publish(nc, prefix, range(300, 400))
        assert await Bot(nc, prefix).ask("stats.recent_chat.get", limit=1)
        assert service.counts.applied == 300
    assert await read(path) == list(range(400))


async def test_a_query_sees_every_event_published_before_it(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    number = 0
    async with service_of(path) as service:
        for size in [1] * 100 + [10] * 20 + [100] * 10 + [5000] * 3:
            for _ in range(size):
                number += 1
                payload = b'{"username": "alice", "message": "%d"}' % number
                await bot.nc.publish(f"{bot.prefix}.message.log", payload)
            (last,) = await bot.ask("stats.recent_chat.get", limit=1)
            assert last["message"] == str(number)
        assert service.counts.stale == 0


async def test_the_question_to_the_stream_leaves_nothing_in_it(
    bot: Bot, path: Path, stream: str, service_of: ServiceOf
) -> None:
    async with service_of(path) as service:
        await bot.tell("user.joined", username="alice")
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(bot.settled)
        assert service.counts.answered == 50
        assert (await info(bot.nc, stream)).state.last_seq == 1


async def test_a_query_that_the_database_cannot_follow_is_answered_and_says_how_far_it_is_behind(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path) as service:
        await bot.tell("message.log", username="alice", message="before")
        await bot.settled()
        with locked(path):
            for _ in range(3):
                await bot.tell("message.log", username="alice", message="behind")
            reply = await bot.request("stats.recent_chat.get")
        assert reply.headers == {"Rosey-Stale": "3"}
        assert [row["message"] for row in json.loads(reply.data)] == ["before"]
        assert service.counts.stale == 1
        await bot.settled()
        assert len(await bot.ask("stats.recent_chat.get")) == 4


async def test_now_is_when_the_stream_stored_the_event(
    nc: Client, path: Path, prefix: str, stream: str, service_of: ServiceOf
) -> None:
    async with service_of(path):
        pass
    await Bot(nc, prefix).tell("user.joined", username="alice")
    await Bot(nc, prefix).told()
    stored = (await nc.jetstream().get_msg(stream, 1)).time
    await anyio.sleep(1.1)
    async with service_of(path):
        pass
    seen = await rows(path, "SELECT first_seen, last_seen, current_session_start FROM user_stats")
    assert stored is not None
    assert seen == [(int(stored.timestamp()),) * 3]


async def test_a_stop_ends_no_session(bot: Bot, path: Path, service_of: ServiceOf) -> None:
    async with service_of(path):
        await bot.tell("user.joined", username="alice")
        await bot.settled()
    assert await rows(path, "SELECT current_session_start > 0 FROM user_stats") == [(1,)]


async def everything(bot: Bot, count: int) -> None:
    """Tell of all that can happen, what is not valid included."""
    for number in range(count):
        user = f"user{number % 50}"
        await bot.tell("user.joined", username=user)
        await bot.tell("message.log", username=user, message=f"line {number}")
        await bot.tell("stats.user_count", chat_count=number, connected_count=number + 1)
        await bot.tell("stats.high_water", chat_count=number, connected_count=number + 1)
        await bot.tell("status.update", status_data={"current_media_title": f"film {number}"})
        await bot.tell("messages.outbound.mark_sent", message_id=number + 1)
        await bot.tell("user.left", username="" if number % 7 == 0 else user)
    await bot.told()


async def test_two_services_on_a_stream_and_a_third_made_later_have_equal_tables(
    bot: Bot, tmp_path: Path, service_of: ServiceOf
) -> None:
    paths = [tmp_path / f"{number}.db" for number in range(3)]
    async with service_of(paths[0]) as one, service_of(paths[1]) as other:
        await everything(bot, 300)
        async with service_of(paths[2]):
            pass
        for _ in range(20):
            assert await bot.ask("stats.recent_chat.get", limit=1)
        assert one.counts.answered + other.counts.answered == 20
    first, second, third = [await to_thread.run_sync(contents, path) for path in paths]
    assert first["recent_chat"]
    assert first == second == third


async def test_an_adopted_database_with_a_connection_keeps_the_cursor_in_it(
    nc: Client, path: Path, prefix: str, service_of: ServiceOf
) -> None:
    for part in range(3):
        async with service_of(path, factory=OldBotDatabase) as service:
            await publish(nc, prefix, range(part * 50, part * 50 + 50))
            await Bot(nc, prefix).settled()
            assert service.counts.applied == 50
    said = await rows(path, "SELECT what FROM log ORDER BY id")
    assert [what.split()[-1] for (what,) in said] == [str(number) for number in range(150)]
    assert await rows(path, "SELECT sequence FROM rosey_dbsvc_cursor") == [(150,)]


async def test_a_database_without_a_connection_keeps_it_in_a_file_and_the_log_says_what_that_means(
    nc: Client,
    tmp_path: Path,
    prefix: str,
    service_of: ServiceOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = SpecDatabase()
    for part in range(2):
        async with service_of(database, cursor_file=str(tmp_path / "cursor")):
            await publish(nc, prefix, range(part * 10, part * 10 + 10))
            await Bot(nc, prefix).settled()
    assert [call[2] for call in database.calls] == [str(number) for number in range(20)]
    assert caplog.messages.count("after a crash, the last events may be applied twice") == 2


async def test_a_database_without_a_connection_or_a_file_for_the_cursor_is_refused(
    service_of: ServiceOf,
) -> None:
    with pytest.raises(errors.NotAdoptable, match="cursor_file"):
        await service_of(SpecDatabase()).serve()


async def test_a_stream_with_other_settings_is_refused_naming_each_and_changed_only_if_told_to(
    nc: Client, path: Path, prefix: str, stream: str, service_of: ServiceOf
) -> None:
    await nc.jetstream().add_stream(
        StreamConfig(name=stream, subjects=[f"{prefix}.user.joined"], max_age=60)
    )
    with pytest.raises(errors.StreamDiffers) as refused:
        await service_of(path).serve()
    assert re.search(
        rf"the stream {stream} is there with other settings: "
        rf"subjects {prefix}.user.joined instead of \S.*, max age 1m instead of 7d; ",
        str(refused.value),
    )
    assert (await info(nc, stream)).config.max_age == 60
    async with service_of(path, update=True):
        pass
    config = (await info(nc, stream)).config
    assert (config.max_age, len(config.subjects or [])) == (7 * 86400, 7)
    async with service_of(path):
        pass


async def test_a_stream_that_cannot_be_changed_or_made_is_one_line(
    nc: Client, path: Path, prefix: str, stream: str, service_of: ServiceOf
) -> None:
    with pytest.raises(errors.StreamRefused, match="replicas > 1 not supported in non-clustered"):
        await service_of(path, replicas=3).serve()
    await nc.jetstream().add_stream(name=f"{stream}_other", subjects=[f"{prefix}.user.*"])
    with pytest.raises(errors.StreamRefused, match="subjects overlap with an existing stream"):
        await service_of(path).serve()


async def test_a_server_without_jetstream_is_refused_saying_how_to_switch_it_on(
    server: NatsServer, path: Path, prefix: str
) -> None:
    with pytest.raises(errors.NoJetStream, match="nats-server -js"):
        await DatabaseService(server.url, path, prefix=prefix, durable=Durable()).serve()


async def test_a_stream_that_was_made_anew_is_read_from_its_beginning(
    nc: Client,
    path: Path,
    prefix: str,
    stream: str,
    service_of: ServiceOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with service_of(path):
        await publish(nc, prefix, range(100))
        await Bot(nc, prefix).settled()
    await nc.jetstream().delete_stream(stream)
    async with service_of(path):
        await publish(nc, prefix, range(1000, 1010))
        await Bot(nc, prefix).settled()
        assert f"the stream {stream} was made anew: reading it from its beginning" in (
            caplog.messages
        )
        # And while the service runs, which makes it again itself.
        await nc.jetstream().delete_stream(stream)
        with anyio.fail_after(20):
            while not await found(nc, stream):
                await anyio.sleep(0.01)
        await publish(nc, prefix, range(2000, 2010))
        await Bot(nc, prefix).settled()
    assert await read(path) == [*range(100), *range(1000, 1010), *range(2000, 2010)]


async def found(nc: Client, stream: str) -> bool:
    try:
        return bool(await info(nc, stream))
    except nats.js.errors.NotFoundError:
        return False


async def test_events_that_expired_unseen_are_an_error_that_says_how_many(
    nc: Client,
    path: Path,
    prefix: str,
    stream: str,
    service_of: ServiceOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with service_of(path):
        await publish(nc, prefix, range(10))
        await Bot(nc, prefix).settled()
    await publish(nc, prefix, range(10, 60))
    await nc.jetstream().purge_stream(stream, keep=13)
    async with service_of(path) as service:
        await publish(nc, prefix, range(60, 70))
        await Bot(nc, prefix).settled()
    assert service.counts.expired == 37
    lines = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert lines == [
        f"37 events of the stream {stream} expired unseen, or were deleted: they are lost"
    ]
    assert await read(path) == [*range(10), *range(47, 70)]
    await publish(nc, prefix, range(70, 80))
    await nc.jetstream().purge_stream(stream)
    for lines in (
        [f"10 events of the stream {stream} expired unseen, or were deleted: they are lost"],
        [],
    ):
        caplog.clear()
        async with service_of(path):
            await Bot(nc, prefix).settled()
        errors_said = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
        assert errors_said == lines, "once, although nothing has come since"


async def test_a_new_file_says_what_the_stream_has_no_more(
    nc: Client,
    tmp_path: Path,
    prefix: str,
    stream: str,
    service_of: ServiceOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with service_of(tmp_path / "old.db"):
        await publish(nc, prefix, range(10))
    await nc.jetstream().purge_stream(stream, keep=4)
    async with service_of(tmp_path / "new.db"):
        await Bot(nc, prefix).settled()
    assert f"the stream {stream} begins at 7: what came before is not in this database" in (
        caplog.messages
    )
    assert await read(tmp_path / "new.db") == [6, 7, 8, 9]


async def test_what_is_not_valid_is_passed_over_once_and_for_good(
    bot: Bot, path: Path, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    async with service_of(path) as service:
        await bot.tell("user.joined", username="alice")
        await bot.tell("user.joined", username="")
        await bot.settled()
        assert (service.counts.applied, service.counts.rejected) == (1, 1)
    caplog.clear()
    async with service_of(path) as service:
        await bot.settled()
        assert service.counts.rejected == 0
    assert await rows(path, "SELECT sequence FROM rosey_dbsvc_cursor") == [(2,)]


async def test_a_header_of_a_strangers_is_no_sign_of_the_server(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path):
        await bot.nc.publish(
            f"{bot.prefix}.message.log",
            b'{"username": "mallory", "message": "hi"}',
            headers={"Status": "409", "Description": "Consumer Deleted", "Nats-Last-Consumer": "9"},
        )
        await bot.tell("message.log", username="alice", message="hello")
        said = await bot.ask("stats.recent_chat.get")
    assert [row["username"] for row in said] == ["mallory", "alice"]


async def test_a_consumer_that_is_taken_away_is_made_again_where_it_was(
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
    assert await read(path) == list(range(1000))


async def test_a_database_that_takes_nothing_for_a_while_loses_nothing(
    nc: Client, path: Path, prefix: str, service_of: ServiceOf
) -> None:
    async with service_of(path):
        with locked(path):
            await publish(nc, prefix, range(500))
        await Bot(nc, prefix).settled()
    assert await read(path) == list(range(500))


async def test_a_poison_event_among_many_moves_the_cursor_past_itself(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    class Poisoned(BotDatabase):
        def user_joined(self, username: str) -> None:
            if username == "poison":
                raise RuntimeError("not that one")
            super().user_joined(username)

    for _ in range(2):
        async with service_of(path, factory=Poisoned) as service:
            for name in ("alice", "poison", "bob"):
                await bot.tell("user.joined", username=name)
            await bot.settled()
            assert (service.counts.applied, service.counts.rejected) == (2, 1)
    assert await rows(path, "SELECT sequence FROM rosey_dbsvc_cursor") == [(6,)]


async def test_an_abort_loses_nothing_and_counts_nothing_as_lost(
    nc: Client, path: Path, prefix: str, service_of: ServiceOf
) -> None:
    service = service_of(path)
    async with anyio.create_task_group() as tasks:
        await tasks.start(service.serve)
        with locked(path):
            await publish(nc, prefix, range(100))
            service.abort()
    assert service.counts.abandoned == 0
    async with service_of(path):
        await Bot(nc, prefix).settled()
    assert await read(path) == list(range(100))


async def test_a_stream_that_is_made_anew_for_other_subjects_ends_the_service(
    nc: Client, path: Path, prefix: str, stream: str, service_of: ServiceOf
) -> None:
    js = nc.jetstream()
    with pytest.raises(errors.StreamChanged, match="does not capture"):
        async with service_of(path):
            await js.delete_stream(stream)
            with anyio.fail_after(20):
                while not await renewed(nc, stream, f"{prefix}.elsewhere"):
                    await js.delete_stream(stream)
                await anyio.sleep_forever()


async def renewed(nc: Client, stream: str, subject: str) -> bool:
    """Make the stream, unless the service was first."""
    try:
        await nc.jetstream().add_stream(name=stream, subjects=[subject])
    except nats.js.errors.BadRequestError:
        return False
    return True


async def test_jetstream_that_is_switched_off_for_a_while_is_waited_for(
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
                reply = await asked(bot)
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
    assert await read(path) == list(range(20))
    assert any("is read again, after" in line for line in caplog.messages)


async def asked(bot: Bot) -> Any:
    """Ask until there is an answer: both have to find the server again."""
    while True:
        try:
            return await bot.request("stats.recent_chat.get")
        except nats.errors.Error:
            await anyio.sleep(0.05)


async def test_a_service_that_has_been_idle_for_long_goes_on_with_the_same_consumer(
    nc: Client,
    path: Path,
    prefix: str,
    stream: str,
    service_of: ServiceOf,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(pulling, "EXPIRES", 0.2)
    monkeypatch.setattr(pulling, "HEARTBEAT", 0.1)
    async with service_of(path):
        await publish(nc, prefix, range(10))
        (before,) = await nc.jetstream().consumers_info(stream)
        await anyio.sleep(1)
        await publish(nc, prefix, range(10, 20))
        await Bot(nc, prefix).settled()
        (after,) = await nc.jetstream().consumers_info(stream)
    assert before.name == after.name
    assert not [each for each in caplog.records if each.levelname == "WARNING"]
    assert await read(path) == list(range(20))


async def test_more_than_is_asked_for_at_a_time_comes_in_order_in_bounded_parts(
    nc: Client,
    path: Path,
    prefix: str,
    service_of: ServiceOf,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(pulling, "MOST", 7)
    monkeypatch.setattr(pulling, "MOST_BYTES", 500)
    async with service_of(path):
        pass
    await publish(nc, prefix, range(500), acked=False)
    await Bot(nc, prefix).told()
    async with service_of(path):
        await Bot(nc, prefix).settled()
    assert await read(path) == list(range(500))
    assert not [each for each in caplog.records if each.levelname == "WARNING"]


@pytest.mark.parametrize("later", [0, 20, 90])
async def test_a_server_that_has_lost_the_end_of_the_stream_costs_no_event_that_came_later(
    tmp_path: Path,
    path: Path,
    later: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(follower, "SHORT", 0.1)
    monkeypatch.setattr(pulling, "HEARTBEAT", 0.1)
    store, earlier = tmp_path / "js", tmp_path / "earlier"
    with nats_server("-js", "-sd", str(store)) as server:

        async def serve(numbers: range) -> None:
            nc = await nats.connect(server.url)
            async with DatabaseService(server.url, path, prefix="x", durable=Durable()):
                await publish(nc, "x", numbers)
                await Bot(nc, "x").settled()
            await nc.close()

        async def restart_with(folder: Path, kept: Path) -> None:
            server.kill()
            await to_thread.run_sync(shutil.rmtree, kept, True)
            await to_thread.run_sync(shutil.copytree, folder, kept)
            server.start()

        await serve(range(50))
        await restart_with(store, earlier)
        await serve(range(50, 100))
        await restart_with(earlier, store)
        nc = await nats.connect(server.url)
        await publish(nc, "x", range(1000, 1000 + later))
        await nc.close()
        await serve(range(2000, 2010))
        await serve(range(3000, 3010))
    told = [*range(100), *range(1000, 1000 + later), *range(2000, 2010), *range(3000, 3010)]
    assert await read(path) == told
    said = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert said == [
        "the stream ROSEY_DB has lost its end, which this database has: reading what came later"
    ]


async def test_core_mode_takes_no_file_that_follows_a_stream(
    stream_server: NatsServer, path: Path, service_of: ServiceOf, prefix: str
) -> None:
    async with service_of(path):
        pass
    await publish_one(stream_server.url, prefix)
    async with service_of(path):
        pass
    with pytest.raises(errors.CannotOpen, match="run it with --durable, or give that up"):
        await DatabaseService(stream_server.url, path, prefix=prefix).serve()


async def publish_one(url: str, prefix: str) -> None:
    nc = await nats.connect(url)
    await publish(nc, prefix, range(1))
    await nc.close()


@pytest.mark.parametrize("lost", [37, 100])
async def test_messages_that_get_lost_on_the_way_are_read_again(
    nc: Client,
    path: Path,
    prefix: str,
    service_of: ServiceOf,
    lost: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last one of a hundred shows in the heartbeat alone."""
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
    assert await read(path) == list(range(100))


async def test_a_message_without_a_place_in_the_stream_is_not_applied(
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
        await Bot(nc, prefix).settled()
    assert await read(path) == list(range(10))
    assert await rows(path, "SELECT username FROM user_stats") == []


async def test_a_connection_that_its_owner_has_closed_is_lost(
    stream_server: NatsServer, path: Path, prefix: str, stream: str
) -> None:
    host = await nats.connect(stream_server.url)
    await host.close()
    with pytest.raises(errors.ConnectionLost), anyio.fail_after(10):
        await DatabaseService(host, path, prefix=prefix, durable=Durable(stream=stream)).serve()


async def test_a_connection_that_its_owner_closes_while_the_service_catches_up_is_lost(
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
    await Bot(host, prefix).tell("user.joined", username="alice")
    await Bot(host, prefix).told()
    service = DatabaseService(host, path, prefix=prefix, durable=durable, factory=Slow)
    with pytest.raises(errors.ConnectionLost), anyio.fail_after(20), errors.sole_error():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.serve)
            while f"reading on in the stream {stream} from 1, 1 events behind" not in (
                caplog.messages
            ):
                await anyio.sleep(0.01)
            await host.close()


async def test_the_stream_of_another_prefix_is_taken_by_no_flag(
    nc: Client, tmp_path: Path, prefix: str, stream: str, service_of: ServiceOf
) -> None:
    async with service_of(tmp_path / "one.db"):
        pass
    for update in (False, True):
        with pytest.raises(errors.StreamDiffers, match="choose another with --stream"):
            await service_of(tmp_path / "other.db", prefix="other", update=update).serve()
    subjects = (await info(nc, stream)).config.subjects or []
    assert all(subject.startswith(prefix) for subject in subjects)


async def test_what_is_done_to_a_stream_is_said(
    path: Path, stream: str, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    for max_age in (3600, 86400):
        async with service_of(path, max_age=max_age, update=True):
            pass
    assert [line for line in caplog.messages if line.startswith(("made", "changed"))] == [
        f"made the stream {stream}",
        f"changed the stream {stream}, which had max age 1h instead of 1d",
    ]


async def test_a_stream_that_does_not_say_how_far_it_is_is_a_warning(
    nc: Client,
    path: Path,
    prefix: str,
    stream: str,
    service_of: ServiceOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with service_of(path):
        await nc.jetstream().update_stream(name=stream, subjects=[f"{prefix}.user.joined"])
        reply = await Bot(nc, prefix).request("stats.recent_chat.get")
        assert reply.headers == {"Rosey-Stale": "unknown"}
    assert any("does not say how far it is" in line for line in caplog.messages)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"storage": "memory"}, "storage memory instead of file"),
        ({"retention": "workqueue"}, "retention workqueue instead of limits"),
        ({"retention": "interest"}, "retention interest instead of limits"),
        ({"discard": "new"}, "discard new instead of old"),
        ({"max_bytes": 2**20}, "max bytes 1M instead of none"),
        ({"max_msgs": 2}, "max messages 2 instead of any"),
        ({"max_msgs_per_subject": 1}, "max messages a subject 1 instead of any"),
        ({"max_msg_size": 1024}, "max message size 1K instead of none"),
        ({"no_ack": True}, "no_ack True instead of False"),
        (
            {"subject_transform": SubjectTransform(src=">", dest="elsewhere.>")},
            "subject transform some instead of none",
        ),
    ],
)
async def test_each_setting_that_decides_what_the_stream_keeps_has_to_be_as_wanted(
    nc: Client, path: Path, prefix: str, stream: str, service_of: ServiceOf, setting: Any, said: str
) -> None:
    subjects = [f"{prefix}.{event.name}" for event in EVENTS]
    wanted = StreamConfig(name=stream, subjects=subjects, max_age=7 * 86400)
    await nc.jetstream().add_stream(wanted.evolve(**setting))
    with pytest.raises(errors.StreamDiffers) as refused, anyio.fail_after(10):
        await service_of(path).serve()
    assert f"with other settings: {said}; ask for those" in str(refused.value)


@pytest.mark.parametrize("all_of_them", [False, True])
async def test_a_stream_whose_last_events_were_deleted_is_at_its_end_none_the_less(
    nc: Client,
    path: Path,
    prefix: str,
    stream: str,
    service_of: ServiceOf,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    all_of_them: bool,
) -> None:
    monkeypatch.setattr(pulling, "HEARTBEAT", 0.1)
    js = nc.jetstream()
    async with service_of(path):
        await publish(nc, prefix, range(10))
        await Bot(nc, prefix).settled()
    await publish(nc, prefix, range(10, 15))
    for sequence in range(1 if all_of_them else 14, 16):
        await js.delete_msg(stream, sequence)
    with anyio.fail_after(10):
        async with service_of(path):
            await Bot(nc, prefix).settled()
            await publish(nc, prefix, range(20, 25))
            await Bot(nc, prefix).settled()
    told = [*range(10), *range(20, 25)] if all_of_them else [*range(13), *range(20, 25)]
    assert await read(path) == told
    lost = sum(int(line.split()[0]) for line in caplog.messages if "expired unseen" in line)
    assert lost == (5 if all_of_them else 2)


async def test_events_that_expired_before_the_first_one_was_seen_are_counted(
    nc: Client,
    path: Path,
    prefix: str,
    stream: str,
    service_of: ServiceOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with service_of(path):
        await Bot(nc, prefix).settled()
    await publish(nc, prefix, range(10))
    await nc.jetstream().purge_stream(stream, keep=2)
    async with service_of(path):
        await Bot(nc, prefix).settled()
    assert any(line.startswith("8 events of the stream") for line in caplog.messages)


async def test_many_gaps_are_one_line(
    nc: Client,
    path: Path,
    prefix: str,
    stream: str,
    service_of: ServiceOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with service_of(path):
        await publish(nc, prefix, range(1))
        await Bot(nc, prefix).settled()
    bot = Bot(nc, prefix)
    for number in range(50):
        await bot.tell("user.joined", username=f"user{number}")
        await bot.tell("message.log", username="alice", message=str(number))
    await bot.told()
    await nc.jetstream().purge_stream(stream, subject=f"{prefix}.user.joined")
    async with service_of(path):
        await bot.settled()
    said = [line for line in caplog.messages if "expired unseen" in line]
    assert sum(int(line.split()[0]) for line in said) == 50
    assert len(said) <= 2


async def test_a_stream_that_was_made_anew_is_not_taken_for_the_one_before_by_a_query(
    nc: Client, path: Path, prefix: str, stream: str, service_of: ServiceOf
) -> None:
    async with service_of(path) as service:
        await publish(nc, prefix, range(100))
        await Bot(nc, prefix).settled()
        await nc.jetstream().delete_stream(stream)
        wanted = [f"{prefix}.{event.name}" for event in EVENTS]
        with suppress(nats.js.errors.BadRequestError):  # the service was first
            await nc.jetstream().add_stream(name=stream, subjects=wanted, max_age=7 * 86400)
        for number in range(1000, 1005):
            await publish(nc, prefix, range(number, number + 1))
            reply = await Bot(nc, prefix).request("stats.recent_chat.get")
            last = json.loads(reply.data)[-1]["message"]
            assert last == str(number) or "Rosey-Stale" in (reply.headers or {})
        with anyio.fail_after(20):
            while service.counts.applied < 105:
                await anyio.sleep(0.01)


@pytest.mark.parametrize("ask", ["abort", "ask_to_stop"])
async def test_a_service_that_is_told_to_end_while_it_catches_up_ends(
    nc: Client,
    path: Path,
    prefix: str,
    service_of: ServiceOf,
    ask: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Slow(BotDatabase):
        def user_joined(self, username: str) -> None:
            time.sleep(1)
            super().user_joined(username)

    async with service_of(path):
        pass
    await Bot(nc, prefix).tell("user.joined", username="alice")
    await Bot(nc, prefix).told()
    caplog.clear()
    service = service_of(path, factory=Slow)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.serve)
            while not any("1 events behind" in line for line in caplog.messages):
                await anyio.sleep(0.01)
            getattr(service, ask)()
    assert not any(line.startswith("serving") for line in caplog.messages)


async def test_a_cursor_file_keeps_those_of_other_streams_and_core_mode_takes_it_for_what_it_is(
    nc: Client, path: Path, prefix: str, stream: str, service_of: ServiceOf
) -> None:
    database = SpecDatabase()
    cursor = f"{path}.cursor"
    async with service_of(database, cursor_file=cursor):
        await publish(nc, prefix, range(3))
        await Bot(nc, prefix).settled()
    async with service_of(database, cursor_file=cursor, stream=f"{stream}2", prefix=f"{prefix}2"):
        pass
    async with service_of(database, cursor_file=cursor):
        await Bot(nc, prefix).settled()
    assert len(database.calls) == 3
    with pytest.raises(errors.CannotOpen, match="run it with --durable"):
        await DatabaseService(nc, path, prefix=prefix, factory=SpecDatabase).serve()


async def test_a_stream_that_is_made_anew_while_the_service_catches_up_is_the_one_to_come_up_with(
    nc: Client,
    path: Path,
    prefix: str,
    stream: str,
    service_of: ServiceOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Slow(BotDatabase):
        def user_joined(self, username: str) -> None:
            time.sleep(1)
            super().user_joined(username)

    async with service_of(path):
        pass
    await Bot(nc, prefix).tell("user.joined", username="alice")
    await publish(nc, prefix, range(100))
    service = service_of(path, factory=Slow)

    async def delete_once_it_is_read() -> None:
        while not any("101 events behind" in line for line in caplog.messages):
            await anyio.sleep(0.01)
        await nc.jetstream().delete_stream(stream)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(delete_once_it_is_read)
            await tasks.start(service.serve)
            await publish(nc, prefix, range(1000, 1010))
            await Bot(nc, prefix).settled()
            await service.stop()
    assert (await read(path))[-10:] == list(range(1000, 1010))


async def test_a_file_from_core_mode_goes_on_with_a_new_stream_under_a_bot_that_talks(
    nc: Client,
    path: Path,
    stream_server: NatsServer,
    prefix: str,
    service_of: ServiceOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bot = Bot(nc, prefix)
    async with DatabaseService(stream_server.url, path, prefix=prefix):
        await publish(nc, prefix, range(10), acked=False)
        await bot.settled()
    prepare = Stream.prepare

    async def slowly(self: Stream) -> None:
        await prepare(self)
        await publish(nc, prefix, range(10, 20))

    monkeypatch.setattr(Stream, "prepare", slowly)
    async with service_of(path):
        await bot.settled()
    assert await read(path) == list(range(20))
