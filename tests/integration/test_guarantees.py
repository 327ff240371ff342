"""Order, read-your-writes, isolation: what the contract promises while all is well."""

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from nats.aio.client import Client
from support.bots import Bot
from support.databases import OldBotDatabase, SpecDatabase, locked, rows

from rosey_dbsvc import BotDatabase, DatabaseService
from rosey_dbsvc.pipeline import barriers as freshness
from rosey_dbsvc.pipeline import queries as answers

ServiceOf = Callable[..., DatabaseService]


@pytest.fixture
def bot(nc: Client, prefix: str) -> Bot:
    return Bot(nc, prefix)


async def test_a_thousand_bursts_across_subjects_end_right(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path):
        for number in range(1000):
            user = f"user{number}"
            await bot.tell("user.joined", username=user)
            await bot.tell("message.log", username=user, message="hi")
            await bot.tell("user.left", username=user)
            await bot.tell("user.joined", username=user)
        await bot.settled()
        wrong = await rows(
            path,
            "SELECT * FROM user_stats WHERE total_chat_lines != 1 OR current_session_start IS NULL",
        )
        assert wrong == []
        assert await rows(path, "SELECT count(*) FROM user_stats") == [(1000,)]


async def test_events_are_applied_in_the_order_they_were_published(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path, factory=OldBotDatabase):
        told = []
        for number in range(3000):
            kind = ("user.joined", "user.left", "message.log")[number % 3]
            extra = {"message": "hi"} if kind == "message.log" else {}
            await bot.tell(kind, username=f"user{number}", **extra)
            told.append(f"{('joined', 'left', 'said')[number % 3]} user{number}")
        await bot.settled()
        logged = await rows(path, "SELECT what FROM log ORDER BY id")
    assert [what.removesuffix(" hi") for (what,) in logged] == told


async def test_a_query_sees_every_event_published_before_it(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path):
        for number in range(300):
            await bot.tell("user.joined", username="alice")
            await bot.tell("message.log", username="alice", message=str(number))
            (last,) = await bot.ask("stats.recent_chat.get", limit=1)
            assert last["message"] == str(number)


@pytest.mark.parametrize("factory", [BotDatabase, OldBotDatabase, SpecDatabase])
async def test_each_kind_of_database_answers_after_the_events_before(
    bot: Bot, path: Path, service_of: ServiceOf, factory: Any
) -> None:
    async with service_of(path, factory=factory) as service:
        for number in range(500):
            await bot.tell("message.log", username="alice", message=str(number))
        assert await bot.ask("stats.recent_chat.get", limit=1)
        assert service.counts.applied == 500


class Poisoned(BotDatabase):
    def user_joined(self, username: str) -> None:
        if username == "poison":
            raise RuntimeError("I do not\nlike that one")
        super().user_joined(username)


async def test_a_poison_event_among_a_thousand_costs_itself(
    bot: Bot, path: Path, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    async with service_of(path, factory=Poisoned) as service:
        for number in range(1000):
            await bot.tell("user.joined", username="poison" if number == 500 else f"u{number}")
        await bot.settled()
        assert (service.counts.applied, service.counts.rejected) == (999, 1)
        names = await rows(path, "SELECT username FROM user_stats ORDER BY rowid")
    assert names == [(f"u{number}",) for number in range(1000) if number != 500]
    (error,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert error.getMessage() == (
        "rejected by the database: user.joined UserJoined(username='poison'): "
        r"RuntimeError: I do not\nlike that one"
    )
    assert error.exc_info is None


async def test_a_lone_event_is_committed_at_once_and_a_flood_in_few_batches(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path) as service:
        await bot.tell("user.joined", username="alice")
        await bot.settled()
        assert service.counts.batches == 1
        for number in range(5000):
            await bot.nc.publish(f"{bot.prefix}.user.joined", b'{"username": "u%d"}' % number)
        await bot.settled()
        assert service.counts.applied == 5001
        assert service.counts.batches < 500


async def test_a_slow_query_holds_up_no_event_and_no_other_query(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    free = anyio.Event()

    class Slow(BotDatabase):
        def reader(self) -> Any:
            reader = super().reader()
            fast = reader.recent_chat  # type: ignore[union-attr]

            def recent_chat(limit: int) -> Any:
                if limit == 999:
                    anyio.from_thread.run(free.wait)
                return fast(limit)

            setattr(reader, "recent_chat", recent_chat)  # noqa: B010  mypy objects
            return reader

    async with service_of(path, factory=Slow) as service, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: bot.ask("stats.recent_chat.get", limit=999))
        await anyio.lowlevel.checkpoint()
        await bot.tell("message.log", username="alice", message="hi")
        assert len(await bot.ask("stats.recent_chat.get", limit=1)) == 1
        assert service.counts.answered == 1
        free.set()


async def test_a_thousand_queries_at_once_are_all_answered(
    bot: Bot, path: Path, service_of: ServiceOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MOST_AT_ONCE", 10)
    async with service_of(path) as service:
        await bot.tell("message.log", username="alice", message="hi")
        async with anyio.create_task_group() as tasks:
            for _ in range(1000):
                tasks.start_soon(lambda: bot.ask("stats.recent_chat.get"))
        assert service.counts.answered == 1000


async def test_a_stranger_s_many_slow_queries_are_bounded(
    bot: Bot, path: Path, service_of: ServiceOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MOST_AT_ONCE", 10)
    go_on = threading.Event()

    class Slow(SpecDatabase):
        def get_recent_chat(self, limit: int = 50) -> list[Any]:
            assert go_on.wait(30)
            return [limit]

    async with service_of(path, factory=Slow) as service, anyio.create_task_group() as tasks:
        for _ in range(11):
            tasks.start_soon(lambda: bot.ask("stats.recent_chat.get"))
        await anyio.sleep(0.1)
        await bot.tell("user.joined")
        await bot.told()
        await anyio.sleep(0.2)
        assert service.counts.rejected == 0, "what comes behind them has to wait"
        go_on.set()
    assert (service.counts.answered, service.counts.rejected) == (11, 1)


# Errors that a requester is told


async def test_a_reply_that_is_too_large_is_413(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path):
        for _ in range(30):
            await bot.tell("message.log", username="alice", message="x" * 60_000)
        assert len(await bot.ask("stats.recent_chat.get", limit=5)) == 5
        reply = await bot.request("stats.recent_chat.get", b'{"limit": 30}')
        assert reply.data == b"[]"
        assert reply.headers
        assert reply.headers["Nats-Service-Error-Code"] == "413"
        assert len(await bot.ask("stats.recent_chat.get", limit=1)) == 1


async def test_a_database_that_fails_is_500_without_internals(
    bot: Bot, path: Path, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(SpecDatabase):
        def get_recent_chat(self, limit: int = 50) -> list[Any]:
            raise sqlite3.OperationalError(f"no such table: secret{limit}")

    async with service_of(path, factory=Failing) as service:
        reply = await bot.request("stats.recent_chat.get")
        assert reply.data == b"[]"
        assert reply.headers == {
            "Nats-Service-Error": "The database failed.",
            "Nats-Service-Error-Code": "500",
        }
        assert service.counts.refused == 1
    assert "stats.recent_chat.get failed: OperationalError: no such table: secret50" in caplog.text


async def test_a_database_that_takes_no_events_now_is_500_within_bounds(
    bot: Bot, path: Path, service_of: ServiceOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freshness, "PATIENCE", 0.1)
    async with service_of(path) as service:
        holder = locked(path)
        await to_thread.run_sync(holder.__enter__)
        assert await bot.ask("stats.recent_chat.get") == [], "it can still be read"
        await bot.tell("user.joined", username="alice")
        reply = await bot.request("stats.recent_chat.get")
        assert reply.headers
        assert reply.headers["Nats-Service-Error-Code"] == "500"
        assert reply.headers["Nats-Service-Error"] == "the database takes no events now"
        await to_thread.run_sync(holder.__exit__, None, None, None)
        monkeypatch.setattr(freshness, "PATIENCE", 10)
        await bot.settled()
        assert service.counts.applied == 1


async def test_what_was_done_is_counted_by_kind(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path) as service:
        await bot.tell("user.joined")
        await bot.tell("user.joined", username="alice")
        await bot.request("stats.recent_chat.get", b"no")
        await bot.settled()
        counts = service.counts
    assert Counter(
        applied=counts.applied,
        rejected=counts.rejected,
        answered=counts.answered,
        refused=counts.refused,
    ) == Counter(applied=1, rejected=1, answered=1, refused=1)


@pytest.mark.parametrize("target", ["{}.user.joined", "$JS.API.STREAM.DELETE.X", "$SYS.REQ.X"])
async def test_no_answer_goes_where_it_would_be_a_request(
    bot: Bot, path: Path, service_of: ServiceOf, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    subject = target.format(bot.prefix)
    spy = await bot.nc.subscribe(subject)
    async with service_of(path) as service:
        for query in (f"{bot.prefix}.stats.recent_chat.get", "$SRV.PING.rosey-dbsvc"):
            await bot.nc.publish(query, b"{}", reply=subject)
        await bot.settled()
        assert service.counts.rejected == 0
    assert spy.pending_msgs == 0
    assert f"not answered, since that would be a request: {subject}" in caplog.messages
