"""Guarantees of the contract without faults: order, read-your-writes, isolation."""

import sqlite3
import threading
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from support.bots import Bot
from support.databases import OldBotDatabase, SpecDatabase, locked, rows
from support.services import ServiceOf

from rosey_dbsvc import BotDatabase
from rosey_dbsvc.pipeline import sources
from rosey_dbsvc.pipeline.barriers import CommitBarrier
from rosey_dbsvc.pipeline.queries import QueryRunner
from rosey_dbsvc.service import runner
from rosey_dbsvc.storage.sqlite.bot_database import Reader


async def test_a_thousand_bursts_across_subjects_are_applied_in_order(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path):
        for number in range(1000):
            user = f"user{number}"
            await bot.publish("user.joined", username=user)
            await bot.publish("message.log", username=user, message="hi")
            await bot.publish("user.left", username=user)
            await bot.publish("user.joined", username=user)
        await bot.committed()
        wrong = await rows(
            path,
            "SELECT * FROM user_stats WHERE total_chat_lines != 1 OR current_session_start IS NULL",
        )
        assert wrong == []
        assert await rows(path, "SELECT count(*) FROM user_stats") == [(1000,)]


async def test_events_are_applied_in_the_order_they_were_published(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path, database=OldBotDatabase):
        published = []
        for number in range(3000):
            kind = ("user.joined", "user.left", "message.log")[number % 3]
            extra = {"message": "hi"} if kind == "message.log" else {}
            await bot.publish(kind, username=f"user{number}", **extra)
            published.append(f"{('joined', 'left', 'said')[number % 3]} user{number}")
        await bot.committed()
        logged = await rows(path, "SELECT what FROM log ORDER BY id")
    assert [what.removesuffix(" hi") for (what,) in logged] == published


async def test_a_query_sees_every_event_published_before_it(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path):
        for number in range(300):
            await bot.publish("user.joined", username="alice")
            await bot.publish("message.log", username="alice", message=str(number))
            (last,) = await bot.query("stats.recent_chat.get", limit=1)
            assert last["message"] == str(number)


@pytest.mark.parametrize("factory", [BotDatabase, OldBotDatabase, SpecDatabase])
async def test_each_kind_of_database_answers_after_the_events_before_the_query(
    bot: Bot, path: Path, service_of: ServiceOf, factory: Any
) -> None:
    async with service_of(path, database=factory) as service:
        for number in range(500):
            await bot.publish("message.log", username="alice", message=str(number))
        assert await bot.query("stats.recent_chat.get", limit=1)
        assert service.counts.applied == 500


class Adopted(BotDatabase):
    """A subclass is adopted, like any other class."""


@pytest.mark.parametrize("factory", [BotDatabase, Adopted])
async def test_one_event_that_the_database_rejects_among_a_thousand_affects_no_other(
    bot: Bot,
    path: Path,
    service_of: ServiceOf,
    factory: type[BotDatabase],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    user_joined = BotDatabase.user_joined

    def refuse_poison(database: BotDatabase, username: str) -> None:
        if username == "poison":
            raise RuntimeError("I do not\nlike that one")
        user_joined(database, username)

    monkeypatch.setattr(BotDatabase, "user_joined", refuse_poison)
    async with service_of(path, database=factory) as service:
        for number in range(1000):
            await bot.publish("user.joined", username="poison" if number == 500 else f"u{number}")
        await bot.committed()
        assert (service.counts.applied, service.counts.rejected) == (999, 1)
        names = await rows(path, "SELECT username FROM user_stats ORDER BY rowid")
    assert names == [(f"u{number}",) for number in range(1000) if number != 500]
    (error,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert error.getMessage() == (
        "rejected by the database: user.joined UserJoined(username='poison'): "
        r"RuntimeError: I do not\nlike that one"
    )
    assert error.exc_info is None


async def test_a_single_event_is_committed_at_once_and_many_in_few_batches(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path) as service:
        await bot.publish("user.joined", username="alice")
        await bot.committed()
        assert service.counts.batches == 1
        for number in range(5000):
            await bot.nc.publish(f"{bot.prefix}.user.joined", b'{"username": "u%d"}' % number)
        await bot.committed()
        assert service.counts.applied == 5001
        assert service.counts.batches < 500


async def test_a_slow_query_delays_no_event_and_no_other_query(
    bot: Bot, path: Path, service_of: ServiceOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, recent_chat = anyio.Event(), Reader.recent_chat

    def slow_if_long(reader: Reader, limit: int) -> Any:
        if limit == 999:
            anyio.from_thread.run(free.wait)
        return recent_chat(reader, limit)

    monkeypatch.setattr(Reader, "recent_chat", slow_if_long)
    async with service_of(path) as service, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: bot.query("stats.recent_chat.get", limit=999))
        await anyio.lowlevel.checkpoint()
        await bot.publish("message.log", username="alice", message="hi")
        assert len(await bot.query("stats.recent_chat.get", limit=1)) == 1
        assert service.counts.answered == 1
        free.set()


async def test_a_thousand_queries_at_once_are_all_answered(
    bot: Bot, path: Path, service_of: ServiceOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "QueryRunner", partial(QueryRunner, max_running=10))
    async with service_of(path) as service:
        await bot.publish("message.log", username="alice", message="hi")
        async with anyio.create_task_group() as tasks:
            for _ in range(1000):
                tasks.start_soon(lambda: bot.query("stats.recent_chat.get"))
        assert service.counts.answered == 1000


async def test_the_number_of_slow_queries_is_bounded(
    bot: Bot, path: Path, service_of: ServiceOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "QueryRunner", partial(QueryRunner, max_running=10))
    go_on = threading.Event()

    class Slow(SpecDatabase):
        def get_recent_chat(self, limit: int = 50) -> list[Any]:
            assert go_on.wait(30)
            return [limit]

    async with service_of(path, database=Slow) as service, anyio.create_task_group() as tasks:
        for _ in range(11):
            tasks.start_soon(lambda: bot.query("stats.recent_chat.get"))
        await anyio.sleep(0.1)
        await bot.publish("user.joined")
        await bot.flush()
        await anyio.sleep(0.2)
        assert service.counts.rejected == 0, "messages behind them wait"
        go_on.set()
    assert (service.counts.answered, service.counts.rejected) == (11, 1)


# Error replies


async def test_a_reply_that_is_too_large_is_an_error_413(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path):
        for _ in range(30):
            await bot.publish("message.log", username="alice", message="x" * 60_000)
        assert len(await bot.query("stats.recent_chat.get", limit=5)) == 5
        reply = await bot.request("stats.recent_chat.get", b'{"limit": 30}')
        assert reply.data == b"[]"
        assert reply.headers
        assert reply.headers["Nats-Service-Error-Code"] == "413"
        assert len(await bot.query("stats.recent_chat.get", limit=1)) == 1


async def test_a_failed_query_is_an_error_500_without_internals(
    bot: Bot, path: Path, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(SpecDatabase):
        def get_recent_chat(self, limit: int = 50) -> list[Any]:
            raise sqlite3.OperationalError(f"no such table: secret{limit}")

    async with service_of(path, database=Failing) as service:
        reply = await bot.request("stats.recent_chat.get")
        assert reply.data == b"[]"
        assert reply.headers == {
            "Nats-Service-Error": "The database failed.",
            "Nats-Service-Error-Code": "500",
        }
        assert service.counts.refused == 1
    assert (
        "query failed: stats.recent_chat.get: OperationalError: no such table: secret50"
        in caplog.text
    )


async def test_a_query_after_events_that_cannot_be_committed_is_an_error_500(
    bot: Bot, path: Path, service_of: ServiceOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "CommitBarrier", partial(CommitBarrier, timeout=0.1))
    async with service_of(path) as service:
        holder = locked(path)
        await to_thread.run_sync(holder.__enter__)
        assert await bot.query("stats.recent_chat.get") == [], "reading is possible"
        await bot.publish("user.joined", username="alice")
        reply = await bot.request("stats.recent_chat.get")
        assert reply.headers
        assert reply.headers["Nats-Service-Error-Code"] == "500"
        assert reply.headers["Nats-Service-Error"] == "the database cannot commit at the moment"
        await to_thread.run_sync(holder.__exit__, None, None, None)
        with anyio.fail_after(10):
            while service.counts.applied < 1:
                await anyio.sleep(0.01)
        await bot.committed()


async def test_events_and_queries_are_counted_by_result(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path) as service:
        await bot.publish("user.joined")
        await bot.publish("user.joined", username="alice")
        await bot.request("stats.recent_chat.get", b"no")
        await bot.committed()
        counts = service.counts
    assert Counter(
        applied=counts.applied,
        rejected=counts.rejected,
        answered=counts.answered,
        refused=counts.refused,
    ) == Counter(applied=1, rejected=1, answered=1, refused=1)


@pytest.mark.parametrize("target", ["{}.user.joined", "$JS.API.STREAM.DELETE.X", "$SYS.REQ.X"])
async def test_no_reply_is_sent_to_a_subject_for_requests(
    bot: Bot, path: Path, service_of: ServiceOf, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    subject = target.format(bot.prefix)
    spy = await bot.nc.subscribe(subject)
    async with service_of(path) as service:
        for query in (f"{bot.prefix}.stats.recent_chat.get", "$SRV.PING.rosey-dbsvc"):
            await bot.nc.publish(query, b"{}", reply=subject)
        await bot.committed()
        assert service.counts.rejected == 0
    assert spy.pending_msgs == 0
    assert f"no reply sent to {subject}: that is a subject for requests" in caplog.messages
