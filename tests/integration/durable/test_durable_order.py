"""Durable mode: events of a stream are applied once and in order, and queries see them."""

import json
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from nats.aio.client import Client
from support.bots import Bot
from support.databases import locked, rows
from support.log import contents, info, messages, publish, stored
from support.services import ServiceOf

from rosey_dbsvc import BotDatabase
from rosey_dbsvc.messaging import stream_reader


async def test_events_published_while_the_service_is_down_are_applied_when_it_is_up(
    nc: Client, path: Path, prefix: str, service_of: ServiceOf
) -> None:
    async with service_of(path):
        await publish(nc, prefix, range(100))
    await publish(nc, prefix, range(100, 300))
    async with service_of(path) as service:
        await publish(nc, prefix, range(300, 400))
        assert await Bot(nc, prefix).query("stats.recent_chat.get", limit=1)
        assert service.counts.applied == 300
    assert await messages(path) == list(range(400))


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
            (last,) = await bot.query("stats.recent_chat.get", limit=1)
            assert last["message"] == str(number)
        assert service.counts.stale == 0


async def test_the_probe_is_not_stored_in_the_stream(
    bot: Bot, path: Path, stream: str, service_of: ServiceOf
) -> None:
    async with service_of(path) as service:
        await bot.publish("user.joined", username="alice")
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(bot.committed)
        assert service.counts.answered == 50
        assert (await info(bot.nc, stream)).state.last_seq == 1


async def test_a_reply_while_the_database_is_locked_has_a_header_with_the_number_of_missing_events(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path) as service:
        await bot.publish("message.log", username="alice", message="before")
        await bot.committed()
        with locked(path):
            for _ in range(3):
                await bot.publish("message.log", username="alice", message="behind")
            reply = await bot.request("stats.recent_chat.get")
        assert reply.headers == {"Rosey-Stale": "3"}
        assert [row["message"] for row in json.loads(reply.data)] == ["before"]
        assert service.counts.stale == 1
        await bot.committed()
        assert len(await bot.query("stats.recent_chat.get")) == 4


async def test_a_probe_without_reply_is_a_warning_and_a_header(
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
    assert any("no reply to a probe of the stream" in line for line in caplog.messages)


async def test_timestamps_are_the_times_at_which_the_stream_stored_the_events(
    nc: Client, path: Path, prefix: str, stream: str, service_of: ServiceOf
) -> None:
    async with service_of(path):
        pass
    await Bot(nc, prefix).publish("user.joined", username="alice")
    await stored(nc, stream, 1)
    time = (await nc.jetstream().get_msg(stream, 1)).time
    await anyio.sleep(1.1)
    async with service_of(path):
        pass
    seen = await rows(path, "SELECT first_seen, last_seen, current_session_start FROM user_stats")
    assert time is not None
    assert seen == [(int(time.timestamp()),) * 3]


async def test_a_stop_does_not_end_sessions(bot: Bot, path: Path, service_of: ServiceOf) -> None:
    async with service_of(path):
        await bot.publish("user.joined", username="alice")
        await bot.committed()
    assert await rows(path, "SELECT current_session_start > 0 FROM user_stats") == [(1,)]


async def everything(bot: Bot, count: int) -> None:
    """Publish all kinds of events, invalid ones among them."""
    for number in range(count):
        user = f"user{number % 50}"
        await bot.publish("user.joined", username=user)
        await bot.publish("message.log", username=user, message=f"line {number}")
        await bot.publish("stats.user_count", chat_count=number, connected_count=number + 1)
        await bot.publish("stats.high_water", chat_count=number, connected_count=number + 1)
        await bot.publish("status.update", status_data={"current_media_title": f"film {number}"})
        await bot.publish("messages.outbound.mark_sent", message_id=number + 1)
        await bot.publish("user.left", username="" if number % 7 == 0 else user)
    await bot.flush()


async def test_two_services_on_a_stream_and_a_third_started_later_have_equal_tables(
    bot: Bot, tmp_path: Path, service_of: ServiceOf
) -> None:
    paths = [tmp_path / f"{number}.db" for number in range(3)]
    async with service_of(paths[0]) as one, service_of(paths[1]) as other:
        await everything(bot, 300)
        async with service_of(paths[2]):
            pass
        for _ in range(20):
            assert await bot.query("stats.recent_chat.get", limit=1)
        assert one.counts.answered + other.counts.answered == 20
    first, second, third = [await to_thread.run_sync(contents, path) for path in paths]
    assert first["recent_chat"]
    assert first == second == third


async def test_an_invalid_event_is_rejected_once_and_not_read_again(
    bot: Bot, path: Path, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    async with service_of(path) as service:
        await bot.publish("user.joined", username="alice")
        await bot.publish("user.joined", username="")
        await bot.committed()
        assert (service.counts.applied, service.counts.rejected) == (1, 1)
    caplog.clear()
    async with service_of(path) as service:
        await bot.committed()
        assert service.counts.rejected == 0
    assert await rows(path, "SELECT sequence FROM rosey_dbsvc_cursor") == [(2,)]


class Adopted(BotDatabase):
    """A subclass is adopted, like any other class."""


@pytest.mark.parametrize("factory", [BotDatabase, Adopted])
async def test_the_cursor_moves_past_an_event_that_the_database_rejects(
    bot: Bot,
    path: Path,
    service_of: ServiceOf,
    factory: type[BotDatabase],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user_joined = BotDatabase.user_joined

    def refuse_poison(database: BotDatabase, username: str) -> None:
        if username == "poison":
            raise RuntimeError("not that one")
        user_joined(database, username)

    monkeypatch.setattr(BotDatabase, "user_joined", refuse_poison)
    for _ in range(2):
        async with service_of(path, database=factory) as service:
            for name in ("alice", "poison", "bob"):
                await bot.publish("user.joined", username=name)
            await bot.committed()
            assert (service.counts.applied, service.counts.rejected) == (2, 1)
    assert await rows(path, "SELECT sequence FROM rosey_dbsvc_cursor") == [(6,)]


async def test_a_publisher_s_headers_are_not_taken_for_the_server_s_status(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path):
        await bot.nc.publish(
            f"{bot.prefix}.message.log",
            b'{"username": "mallory", "message": "hi"}',
            headers={"Status": "409", "Description": "Consumer Deleted", "Nats-Last-Consumer": "9"},
        )
        await bot.publish("message.log", username="alice", message="hello")
        found = await bot.query("stats.recent_chat.get")
    assert [row["username"] for row in found] == ["mallory", "alice"]


async def test_no_event_is_lost_while_the_database_is_locked(
    nc: Client, path: Path, prefix: str, service_of: ServiceOf
) -> None:
    async with service_of(path):
        with locked(path):
            await publish(nc, prefix, range(500))
        await Bot(nc, prefix).committed()
    assert await messages(path) == list(range(500))


async def test_an_abort_loses_no_event_and_counts_none_as_abandoned(
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
        await Bot(nc, prefix).committed()
    assert await messages(path) == list(range(100))


async def test_an_idle_service_keeps_its_consumer(
    nc: Client,
    path: Path,
    prefix: str,
    stream: str,
    service_of: ServiceOf,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(stream_reader, "EXPIRES", 0.2)
    monkeypatch.setattr(stream_reader, "HEARTBEAT", 0.1)
    async with service_of(path):
        await publish(nc, prefix, range(10))
        (before,) = await nc.jetstream().consumers_info(stream)
        await anyio.sleep(1)
        await publish(nc, prefix, range(10, 20))
        await Bot(nc, prefix).committed()
        (after,) = await nc.jetstream().consumers_info(stream)
    assert before.name == after.name
    assert not [each for each in caplog.records if each.levelname == "WARNING"]
    assert await messages(path) == list(range(20))


async def test_more_events_than_a_pull_request_takes_arrive_in_order(
    nc: Client,
    path: Path,
    prefix: str,
    service_of: ServiceOf,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(stream_reader, "MAX_MESSAGES", 7)
    monkeypatch.setattr(stream_reader, "MAX_BYTES", 500)
    async with service_of(path):
        pass
    await publish(nc, prefix, range(500), acked=False)
    await Bot(nc, prefix).flush()
    async with service_of(path):
        await Bot(nc, prefix).committed()
    assert await messages(path) == list(range(500))
    assert not [each for each in caplog.records if each.levelname == "WARNING"]
