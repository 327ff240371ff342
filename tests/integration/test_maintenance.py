"""Maintenance of a running service: old rows are deleted in small steps."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from threading import Semaphore

import anyio
import pytest
from anyio import to_thread
from nats.aio.client import Client
from support.bots import Bot
from support.databases import OldBotDatabase, locked, rows, select
from support.services import ServiceOf

from rosey_dbsvc import BotDatabase, DatabaseService
from rosey_dbsvc._aio import in_thread
from rosey_dbsvc.errors import InvalidSettings
from rosey_dbsvc.storage.sqlite.retention import DAY, MAX_ROWS, Retention

HISTORY = "SELECT chat_users FROM user_count_history ORDER BY id"
INSERT = "INSERT INTO user_count_history (timestamp, chat_users, connected_users) VALUES (?, ?, 1)"


def fill(path: Path, *, old: int, young: int = 1) -> None:
    BotDatabase(path).close()
    add(path, [(time.time() - 31 * DAY, 1)] * old + [(time.time(), 2)] * young)


def add(path: Path, counts: list[tuple[float, int]]) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.executemany(INSERT, counts)


async def logged(caplog: pytest.LogCaptureFixture, line: str, times: int = 1) -> None:
    with anyio.fail_after(30):
        while sum(line in message for message in caplog.messages) < times:
            await anyio.sleep(0.01)


async def test_old_rows_are_deleted_at_the_start(
    path: Path, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    await to_thread.run_sync(lambda: fill(path, old=1000))
    async with service_of(path):
        await logged(caplog, "Database maintenance completed: Cleaned 1000 old history records")
    assert await rows(path, HISTORY) == [(2,)]


async def test_old_rows_are_deleted_at_each_interval(
    path: Path, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    async with service_of(path, maintain_every=0.02):
        await logged(caplog, "Database maintenance completed: nothing to delete")
        await to_thread.run_sync(lambda: add(path, [(0, 1)] * 3))
        await logged(caplog, "Database maintenance completed: Cleaned 3 old history records")
    assert await rows(path, HISTORY) == []


async def test_with_interval_0_nothing_is_deleted(path: Path, service_of: ServiceOf) -> None:
    await to_thread.run_sync(lambda: fill(path, old=3))
    async with service_of(path, maintain_every=0):
        await anyio.wait_all_tasks_blocked()
    assert len(await rows(path, HISTORY)) == 4


async def test_an_adopted_database_is_not_maintained(
    path: Path, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    async with service_of(OldBotDatabase(str(path)), maintain_every=0.01):
        await anyio.wait_all_tasks_blocked()
    assert not any("maintenance" in message for message in caplog.messages)


async def test_a_locked_file_delays_the_deletion(
    path: Path, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    async with service_of(path, maintain_every=0.02):
        await logged(caplog, "nothing to delete")
        await to_thread.run_sync(lambda: add(path, [(0, 1)] * 3))
        async with in_thread(locked(path)):
            await logged(caplog, "cannot delete old rows, retrying")
        await logged(caplog, "Cleaned 3 old history records")
    assert await rows(path, HISTORY) == []


async def test_an_error_is_logged_and_the_next_interval_retries(
    path: Path, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    def rename(old: str, new: str) -> None:
        with closing(sqlite3.connect(path)) as conn:
            conn.execute(f"ALTER TABLE {old} RENAME TO {new}")

    async with service_of(path, maintain_every=0.02):
        await logged(caplog, "nothing to delete")
        await to_thread.run_sync(rename, "api_tokens", "away")
        await logged(caplog, "Database maintenance error: OperationalError: no such table", 2)
        await to_thread.run_sync(rename, "away", "api_tokens")
        caplog.clear()
        await logged(caplog, "nothing to delete")


async def test_the_writer_runs_between_two_steps(
    path: Path,
    nc: Client,
    prefix: str,
    service_of: ServiceOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, let_go, users = Semaphore(0), Semaphore(0), list[int]()
    step = Retention.step

    def slow_step(retention: Retention) -> bool:
        users.append(len(select(path, "SELECT 1 FROM user_stats")))
        begun.release()
        assert let_go.acquire(timeout=10)
        return step(retention)

    await to_thread.run_sync(lambda: fill(path, old=3 * MAX_ROWS))
    monkeypatch.setattr(Retention, "step", slow_step)
    bot = Bot(nc, prefix)
    async with service_of(path) as service:
        await to_thread.run_sync(begun.acquire)
        await bot.publish("user.joined", username="alice")
        with anyio.move_on_after(0.2):
            await bot.committed()
        assert service.counts.pending == 1  # one connection: the writer waits for the step
        let_go.release()
        await to_thread.run_sync(begun.acquire)
        let_go.release(100)
    assert users[:2] == [0, 1]


async def test_a_stop_does_not_wait_for_the_whole_deletion(
    path: Path, service_of: ServiceOf
) -> None:
    await to_thread.run_sync(lambda: fill(path, old=100_000))
    async with service_of(path):
        pass
    left = len(await rows(path, HISTORY))
    assert 1 < left <= 100_001


@pytest.mark.parametrize("every", [-1, float("nan"), float("inf")])
def test_an_invalid_interval_is_refused(path: Path, every: float) -> None:
    with pytest.raises(InvalidSettings, match="`maintain_every`: expected seconds, 0 or more"):
        DatabaseService("nats://127.0.0.1:1", path, maintain_every=every)
