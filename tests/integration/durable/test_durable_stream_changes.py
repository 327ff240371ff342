"""Durable mode: a stream that is created anew, or that lost its last events."""

import json
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import anyio
import nats
import pytest
from anyio import to_thread
from nats.aio.client import Client
from support.bots import Bot
from support.log import info, messages, publish
from support.servers import nats_server
from support.services import ServiceOf

from rosey_dbsvc import BotDatabase, DatabaseService, Durable, errors
from rosey_dbsvc.messaging import stream_reader
from rosey_dbsvc.operations import EVENTS
from rosey_dbsvc.pipeline import follower


async def test_a_stream_that_was_created_anew_is_read_from_the_beginning(
    nc: Client,
    path: Path,
    prefix: str,
    stream: str,
    service_of: ServiceOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with service_of(path):
        await publish(nc, prefix, range(100))
        await Bot(nc, prefix).committed()
    await nc.jetstream().delete_stream(stream)
    async with service_of(path):
        await publish(nc, prefix, range(1000, 1010))
        await Bot(nc, prefix).committed()
        assert f"the stream {stream} was created anew: reading it from the beginning" in (
            caplog.messages
        )
        # And while the service runs, which creates it again.
        await nc.jetstream().delete_stream(stream)
        with anyio.fail_after(20):
            while not await found(nc, stream):
                await anyio.sleep(0.01)
        await publish(nc, prefix, range(2000, 2010))
        await Bot(nc, prefix).committed()
    assert await messages(path) == [*range(100), *range(1000, 1010), *range(2000, 2010)]


async def found(nc: Client, stream: str) -> bool:
    try:
        return bool(await info(nc, stream))
    except nats.js.errors.NotFoundError:
        return False


async def test_a_query_does_not_take_a_new_stream_for_the_one_before(
    nc: Client, path: Path, prefix: str, stream: str, service_of: ServiceOf
) -> None:
    async with service_of(path, accept_new=True) as service:
        await publish(nc, prefix, range(100))
        await Bot(nc, prefix).committed()
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


async def test_a_stream_created_anew_while_the_service_catches_up_is_read_to_its_end(
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
    await Bot(nc, prefix).publish("user.joined", username="alice")
    await publish(nc, prefix, range(100))
    service = service_of(path, database=Slow)

    async def delete_once_it_is_read() -> None:
        while not any("101 events behind" in line for line in caplog.messages):
            await anyio.sleep(0.01)
        await nc.jetstream().delete_stream(stream)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(delete_once_it_is_read)
            await tasks.start(service.serve)
            await publish(nc, prefix, range(1000, 1010))
            await Bot(nc, prefix).committed()
            await service.stop()
    assert (await messages(path))[-10:] == list(range(1000, 1010))


async def test_a_stream_created_anew_for_other_subjects_ends_the_service(
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
    """Create the stream, unless the service was first."""
    try:
        await nc.jetstream().add_stream(name=stream, subjects=[subject])
    except nats.js.errors.BadRequestError:
        return False
    return True


@pytest.mark.parametrize("later", [0, 20, 90])
async def test_after_a_server_lost_the_end_of_the_stream_all_later_events_are_applied(
    tmp_path: Path,
    path: Path,
    later: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(follower, "SHORT_TIMEOUT", 0.1)
    monkeypatch.setattr(stream_reader, "HEARTBEAT", 0.1)
    store, earlier = tmp_path / "js", tmp_path / "earlier"
    with nats_server("-js", "-sd", str(store)) as server:

        async def serve(numbers: range) -> None:
            nc = await nats.connect(server.url)
            async with DatabaseService(server.url, path, prefix="x", durable=Durable()):
                await publish(nc, "x", numbers)
                await Bot(nc, "x").committed()
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
    published = [*range(100), *range(1000, 1000 + later), *range(2000, 2010), *range(3000, 3010)]
    assert await messages(path) == published
    (error,) = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert error == (
        "the stream ROSEY_DB lost its last events, which this database has: "
        "reading what was stored later"
    )


async def change_creation_time(path: Path) -> None:
    def change() -> None:
        with closing(sqlite3.connect(path)) as conn, conn:
            conn.execute("UPDATE rosey_dbsvc_cursor SET created = '2001-02-03T04:05:06Z'")

    await to_thread.run_sync(change)


async def replace_stream(nc: Client, prefix: str, stream: str, numbers: range) -> None:
    """Put another stream with the same name and other events in the place of the stream."""
    await nc.jetstream().delete_stream(stream)
    subjects = [f"{prefix}.{event.name}" for event in EVENTS]
    await nc.jetstream().add_stream(name=stream, subjects=subjects, max_age=7 * 86400)
    await publish(nc, prefix, numbers)


@pytest.mark.parametrize("keep", [None, 2, 0])
async def test_a_stream_with_another_creation_time_and_the_same_events_goes_on(
    nc: Client, path: Path, prefix: str, stream: str, service_of: ServiceOf, keep: int | None
) -> None:
    async with service_of(path):
        await publish(nc, prefix, range(10))
        await Bot(nc, prefix).committed()
    for first in (10, 20, 30):
        await change_creation_time(path)
        if keep is not None:
            await nc.jetstream().purge_stream(stream, keep=keep or None)
        async with service_of(path) as service:
            await publish(nc, prefix, range(first, first + 10))
            await Bot(nc, prefix).committed()
            assert (service.counts.applied, service.counts.expired) == (10, 0)
    assert await messages(path) == [*range(40)]


@pytest.mark.parametrize("count", [5, 10, 20])
async def test_another_stream_with_the_name_is_refused_and_nothing_is_applied(
    nc: Client, path: Path, prefix: str, stream: str, service_of: ServiceOf, count: int
) -> None:
    async with service_of(path):
        await publish(nc, prefix, range(10))
        await Bot(nc, prefix).committed()
    await replace_stream(nc, prefix, stream, range(count))
    with pytest.raises(errors.StreamDiffers, match="is another than before"):
        async with service_of(path):
            raise AssertionError("it serves")
    assert await messages(path) == [*range(10)]


async def test_another_stream_is_read_from_its_beginning_if_that_is_accepted(
    nc: Client, path: Path, prefix: str, stream: str, service_of: ServiceOf
) -> None:
    async with service_of(path):
        await publish(nc, prefix, range(10))
        await Bot(nc, prefix).committed()
    await replace_stream(nc, prefix, stream, range(100, 105))
    async with service_of(path, accept_new=True):
        await Bot(nc, prefix).committed()
    async with service_of(path):
        await Bot(nc, prefix).committed()
    assert await messages(path) == [*range(10), *range(100, 105)]


async def test_a_stream_whose_last_events_were_deleted_goes_on(
    nc: Client, path: Path, prefix: str, stream: str, service_of: ServiceOf
) -> None:
    async with service_of(path):
        await publish(nc, prefix, range(10))
        await Bot(nc, prefix).committed()
    await change_creation_time(path)
    await nc.jetstream().delete_msg(stream, 10)
    with anyio.fail_after(20):
        async with service_of(path) as service:
            await publish(nc, prefix, range(10, 12))
            await Bot(nc, prefix).committed()
            assert service.counts.applied == 2
    assert await messages(path) == [*range(12)]


async def test_an_empty_stream_in_the_place_of_the_stream_is_followed(
    nc: Client, path: Path, prefix: str, stream: str, service_of: ServiceOf
) -> None:
    async with service_of(path):
        await publish(nc, prefix, range(10))
        await Bot(nc, prefix).committed()
    await replace_stream(nc, prefix, stream, range(0))
    async with service_of(path):
        await publish(nc, prefix, range(10, 12))
        await Bot(nc, prefix).committed()
    assert await messages(path) == [*range(12)]
