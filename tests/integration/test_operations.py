"""Every operation, over a real server into a real file."""

import json
from pathlib import Path

import pytest
from anyio import to_thread
from support.bots import Bot
from support.databases import rows
from support.golden import BAD_BYTES, Case, accepted, prepare, rejected, untimed
from support.services import ServiceOf

from rosey_dbsvc import BotDatabase
from rosey_dbsvc.operations import OPERATIONS
from rosey_dbsvc.operations.base import Event, Query


@pytest.mark.parametrize("case", accepted())
async def test_an_accepted_payload_has_its_rows_or_its_reply(
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
            await bot.committed()
            found = [list(row) for row in await rows(path, case.expected["sql"])]
            if case.operation.name != "user.left":  # sessions end with the service, too
                assert found == case.expected["rows"]
    assert case.expected.get("logs", "") in caplog.text
    assert [each for each in caplog.records if each.levelname == "WARNING"] == []


def _prepare(path: Path, case: Case) -> None:
    database = BotDatabase(path)
    prepare(database, case)
    database.conn.close()  # not `close`, which ends the sessions


@pytest.mark.parametrize("case", rejected())
async def test_a_rejected_payload_has_no_row_and_one_warning(
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
            await bot.committed()
            assert service.counts.rejected == 1
        assert await rows(path, "PRAGMA data_version") == before
        assert service.counts.applied == 0
    (warning,) = [each for each in caplog.records if each.levelname == "WARNING"]
    subject = f"{bot.prefix}.{case.operation.name}"
    assert warning.getMessage() == f"rejected {subject}: {case.expected['says']}"
    assert warning.exc_info is None


async def test_each_undecodable_event_is_one_warning(
    bot: Bot, path: Path, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    events = [each for each in OPERATIONS if issubclass(each, Event)]
    async with service_of(path) as service:
        for operation in events:
            for data in BAD_BYTES:
                await bot.nc.publish(f"{bot.prefix}.{operation.name}", data)
        await bot.committed()
        assert service.counts.rejected == len(events) * len(BAD_BYTES)
    warnings = [each for each in caplog.records if each.levelname == "WARNING"]
    assert len(warnings) == service.counts.rejected
    assert all(each.getMessage().isprintable() and not each.exc_info for each in warnings)


async def test_an_undecodable_query_is_an_error_400(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path):
        for data in BAD_BYTES:
            reply = await bot.request("stats.recent_chat.get", data)
            assert reply.data == b"[]"
            assert reply.headers
            assert reply.headers["Nats-Service-Error-Code"] == "400"


async def test_messages_to_unknown_subjects_are_ignored(
    bot: Bot, path: Path, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    async with service_of(path) as service:
        await bot.publish("somebody.else", x=1)
        await bot.publish("user.joined.too", username="alice")
        await bot.publish("stats.recent_chat.get", limit=0)
        await bot.committed()
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
        await other.publish("message.log", username="alice", message="hi")
        assert len(await other.query("stats.recent_chat.get")) == 1
        assert await bot.query("stats.recent_chat.get") == []
