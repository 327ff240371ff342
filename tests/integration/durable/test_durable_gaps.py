"""Durable mode: events that the stream deleted before they were read."""

from pathlib import Path

import anyio
import pytest
from nats.aio.client import Client
from support.bots import Bot
from support.log import messages, publish, stored
from support.services import ServiceOf

from rosey_dbsvc.messaging import stream_reader


async def test_events_deleted_before_they_were_read_are_counted_and_logged_once(
    nc: Client,
    path: Path,
    prefix: str,
    stream: str,
    service_of: ServiceOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with service_of(path):
        await publish(nc, prefix, range(10))
        await Bot(nc, prefix).committed()
    await publish(nc, prefix, range(10, 60))
    await nc.jetstream().purge_stream(stream, keep=13)
    async with service_of(path) as service:
        await publish(nc, prefix, range(60, 70))
        await Bot(nc, prefix).committed()
    assert service.counts.expired == 37
    lines = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert lines == [f"lost 37 events: the stream {stream} deleted them before they were read"]
    assert await messages(path) == [*range(10), *range(47, 70)]
    await publish(nc, prefix, range(70, 80))
    await nc.jetstream().purge_stream(stream)
    for lines in (
        [f"lost 10 events: the stream {stream} deleted them before they were read"],
        [],
    ):
        caplog.clear()
        async with service_of(path):
            await Bot(nc, prefix).committed()
        errors_said = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
        assert errors_said == lines, "once, although nothing has come since"


async def test_events_deleted_before_the_first_one_was_read_are_counted(
    nc: Client,
    path: Path,
    prefix: str,
    stream: str,
    service_of: ServiceOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with service_of(path):
        await Bot(nc, prefix).committed()
    await publish(nc, prefix, range(10))
    await nc.jetstream().purge_stream(stream, keep=2)
    async with service_of(path):
        await Bot(nc, prefix).committed()
    assert any(line.startswith("lost 8 events:") for line in caplog.messages)


@pytest.mark.parametrize("all_of_them", [False, True])
async def test_deleted_last_events_do_not_keep_the_service_from_catching_up(
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
    monkeypatch.setattr(stream_reader, "HEARTBEAT", 0.1)
    js = nc.jetstream()
    async with service_of(path):
        await publish(nc, prefix, range(10))
        await Bot(nc, prefix).committed()
    await publish(nc, prefix, range(10, 15))
    for sequence in range(1 if all_of_them else 14, 16):
        await js.delete_msg(stream, sequence)
    with anyio.fail_after(10):
        async with service_of(path):
            await Bot(nc, prefix).committed()
            await publish(nc, prefix, range(20, 25))
            await Bot(nc, prefix).committed()
    kept = [*range(10), *range(20, 25)] if all_of_them else [*range(13), *range(20, 25)]
    assert await messages(path) == kept
    lost = sum(
        int(line.split()[1])
        for line in caplog.messages
        if "deleted them before they were read" in line
    )
    assert lost == (5 if all_of_them else 2)


async def test_many_gaps_are_logged_as_one_line(
    nc: Client,
    path: Path,
    prefix: str,
    stream: str,
    service_of: ServiceOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with service_of(path):
        await publish(nc, prefix, range(1))
        await Bot(nc, prefix).committed()
    bot = Bot(nc, prefix)
    for number in range(50):
        await bot.publish("user.joined", username=f"user{number}")
        await bot.publish("message.log", username="alice", message=str(number))
    await stored(nc, stream, 101)
    await nc.jetstream().purge_stream(stream, subject=f"{prefix}.user.joined")
    async with service_of(path):
        await bot.committed()
    lines = [line for line in caplog.messages if "deleted them before they were read" in line]
    assert sum(int(line.split()[1]) for line in lines) == 50
    assert len(lines) <= 2


async def test_with_a_new_file_the_log_names_the_first_event_of_the_stream(
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
        await Bot(nc, prefix).committed()
    assert f"the stream {stream} begins at 7: this database lacks the events before" in (
        caplog.messages
    )
    assert await messages(tmp_path / "new.db") == [6, 7, 8, 9]
