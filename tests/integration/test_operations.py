"""Every operation in both dialects, over a real server into a real file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from anyio import to_thread
from nats.aio.client import Client
from support.bots import Bot
from support.databases import rows
from support.golden import BAD_BYTES, Case, accepted, prepare, rejected, untimed

from rosey_dbsvc import BotDatabase, DatabaseService
from rosey_dbsvc.operations.base import OPERATIONS, Event, Query

ServiceOf = Callable[..., DatabaseService]


@pytest.fixture
def bot(nc: Client, prefix: str) -> Bot:
    return Bot(nc, prefix)


@pytest.mark.parametrize("case", accepted())
async def test_an_accepted_payload_makes_its_rows_or_its_reply(
    case: Case, bot: Bot, path: Path, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    await to_thread.run_sync(_prepare, path, case)
    async with service_of(path):
        if issubclass(case.operation, Query):
            reply = await bot.request(case.operation.name, case.payload)
            assert reply.headers is None
            assert [untimed(row) for row in json.loads(reply.data)] == case.expected["reply"]
        else:
            await bot.nc.publish(f"{bot.prefix}.{case.operation.name}", case.payload)
            await bot.settled()
            found = [list(row) for row in await rows(path, case.expected["sql"])]
            if case.operation.name != "user.left":  # a session ends with the service as well
                assert found == case.expected["rows"]
    assert case.expected.get("logs", "") in caplog.text
    assert [each for each in caplog.records if each.levelname == "WARNING"] == []


def _prepare(path: Path, case: Case) -> None:
    database = BotDatabase(path)
    prepare(database, case)
    database.conn.close()  # not `close`, which ends the sessions


@pytest.mark.parametrize("case", rejected())
async def test_a_rejected_payload_makes_no_row_and_one_warning(
    case: Case, bot: Bot, path: Path, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    async with service_of(path) as service:
        before = await rows(path, "PRAGMA data_version")
        if issubclass(case.operation, Query):
            reply = await bot.request(case.operation.name, case.payload)
            assert reply.data == b"[]"
            assert reply.headers == {
                "Nats-Service-Error": case.expected["says"],
                "Nats-Service-Error-Code": "400",
            }
            assert service.counts.refused == 1
        else:
            await bot.nc.publish(f"{bot.prefix}.{case.operation.name}", case.payload)
            await bot.settled()
            assert service.counts.rejected == 1
        assert await rows(path, "PRAGMA data_version") == before
        assert service.counts.applied == 0
    (warning,) = [each for each in caplog.records if each.levelname == "WARNING"]
    subject = f"{bot.prefix}.{case.operation.name}"
    assert warning.getMessage() == f"rejected {subject}: {case.expected['says']}"
    assert warning.exc_info is None


async def test_bytes_of_any_kind_cost_one_line_each(
    bot: Bot, path: Path, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    events = [each for each in OPERATIONS if issubclass(each, Event)]
    async with service_of(path) as service:
        for operation in events:
            for data in BAD_BYTES:
                await bot.nc.publish(f"{bot.prefix}.{operation.name}", data)
        await bot.settled()
        assert service.counts.rejected == len(events) * len(BAD_BYTES)
    warnings = [each for each in caplog.records if each.levelname == "WARNING"]
    assert len(warnings) == service.counts.rejected
    assert all(each.getMessage().isprintable() and not each.exc_info for each in warnings)


async def test_a_query_with_bad_bytes_is_answered_with_400(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path):
        for data in BAD_BYTES:
            reply = await bot.request("stats.recent_chat.get", data)
            assert reply.data == b"[]"
            assert reply.headers
            assert reply.headers["Nats-Service-Error-Code"] == "400"


async def test_what_is_not_ours_is_left_alone(
    bot: Bot, path: Path, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    async with service_of(path) as service:
        await bot.tell("somebody.else", x=1)
        await bot.tell("user.joined.too", username="alice")
        await bot.tell("stats.recent_chat.get", limit=0)
        await bot.settled()
        assert (service.counts.applied, service.counts.rejected) == (0, 0)
        assert (service.counts.answered, service.counts.refused) == (1, 0)
    assert [each for each in caplog.records if each.levelname == "WARNING"] == []


async def test_another_prefix_is_another_service(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    async with (
        service_of(path),
        service_of(path.with_name("other.db"), prefix=f"{bot.prefix}.other"),
    ):
        other = Bot(bot.nc, f"{bot.prefix}.other")
        await other.tell("message.log", username="alice", message="hi")
        assert len(await other.ask("stats.recent_chat.get")) == 1
        assert await bot.ask("stats.recent_chat.get") == []
