"""Group commit: pure AnyIO, so on both of its backends."""

import sqlite3
import threading
from collections.abc import Sequence
from functools import partial

import anyio
import pytest
from anyio import CapacityLimiter, to_thread

from rosey_dbsvc._aio import Backoff
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.errors import NotADatabase
from rosey_dbsvc.operations.users import UserJoined
from rosey_dbsvc.pipeline import writer as writer_module
from rosey_dbsvc.pipeline.writer import Writer
from rosey_dbsvc.storage.cursor import Position
from rosey_dbsvc.storage.protocol import Outcome, Received, Rejection

pytestmark = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])

LOCKED = sqlite3.OperationalError("database is locked")
LOCKED.sqlite_errorcode = sqlite3.SQLITE_BUSY


def event(number: int, size: int = 10) -> Received:
    return Received(UserJoined(username=f"user{number}"), 0.0, size)


class Recorder:
    """Applies batches into a list; holds each until it is let go, if asked to."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[Received]] = []
        self.positions: list[Position | None] = []
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)
        self.held = held

    def __call__(self, batch: Sequence[Received], position: Position | None = None) -> Outcome:
        self.positions.append(position)
        self.begun.release()
        if self.held:
            assert self.let_go.acquire(timeout=10)
        self.batches.append(list(batch))
        return Outcome(len(batch))

    @property
    def applied(self) -> list[Received]:
        return [received for batch in self.batches for received in batch]


async def test_a_lone_event_is_committed_at_once() -> None:
    recorder = Recorder()
    writer = Writer(recorder, Counts())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        await writer.put(event(1))
        with anyio.fail_after(10):
            await writer.wait_settled(1)
        writer.end()
    assert recorder.batches == [[event(1)]]


async def test_what_comes_while_a_batch_is_committed_is_the_next_batch() -> None:
    recorder = Recorder(held=True)
    writer = Writer(recorder, Counts())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        await writer.put(event(0))
        await to_thread.run_sync(recorder.begun.acquire)
        for number in range(1, 1000):
            await writer.put(event(number))
        recorder.let_go.release(2)
        writer.end()
    assert [len(batch) for batch in recorder.batches] == [1, 999]
    assert recorder.applied == [event(number) for number in range(1000)]


async def test_a_full_batch_makes_the_next_event_wait() -> None:
    await _fills(Writer(Recorder(), Counts(), max_events=3), event(0))


async def test_a_batch_is_also_full_by_its_bytes() -> None:
    await _fills(Writer(Recorder(), Counts(), max_bytes=300), event(0, size=100))


async def _fills(writer: Writer, received: Received) -> None:
    for _ in range(3):
        await writer.put(received)
    with anyio.move_on_after(0.05) as waiting:
        await writer.put(received)
    assert waiting.cancelled_caught
    assert writer.ticket == 3
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        await writer.put(received)
        writer.end()
    assert writer.settled == 4


async def test_a_ticket_is_settled_with_its_batch_and_not_before() -> None:
    recorder = Recorder(held=True)
    writer = Writer(recorder, Counts())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        await writer.put(event(1))
        ticket = writer.ticket
        with anyio.move_on_after(0.05) as waiting:
            await writer.wait_settled(ticket)
        assert waiting.cancelled_caught
        recorder.let_go.release()
        await writer.wait_settled(ticket)
        writer.end()


async def test_it_ends_after_all_that_was_put() -> None:
    recorder, counts = Recorder(), Counts()
    writer = Writer(recorder, counts)
    for number in range(100):
        await writer.put(event(number))
    writer.end()
    with anyio.fail_after(10):
        await writer.run()
    assert len(recorder.applied) == 100
    assert counts.pending == 0


async def test_a_batch_that_cannot_be_committed_now_is_retried_in_order(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer_module, "Backoff", partial(Backoff, first_delay=0.001))
    tries = 5
    taken: list[Received] = []

    def apply(batch: Sequence[Received], _: Position | None) -> Outcome:
        nonlocal tries
        if tries := tries - 1:
            return Outcome(obstacle=LOCKED)
        taken.extend(batch)
        tries = 1
        return Outcome(len(batch))

    counts = Counts()
    writer = Writer(apply, counts)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        for number in range(100):
            await writer.put(event(number))
            await anyio.lowlevel.checkpoint()
        tries = 2
        writer.end()
    assert taken == [event(number) for number in range(100)]
    assert counts.applied == 100
    warnings = [each for each in caplog.records if each.levelname == "WARNING"]
    assert len(warnings) <= 3, "logged once a wait, not at each attempt"
    assert "database is locked" in warnings[0].getMessage()
    assert "commits work again after" in caplog.messages[-1]


async def test_of_a_batch_that_commits_event_by_event_only_the_rest_is_retried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer_module, "Backoff", partial(Backoff, first_delay=0.001))
    batches: list[list[Received]] = []

    def apply(batch: Sequence[Received], _: Position | None) -> Outcome:
        batches.append(list(batch))
        return Outcome(2, obstacle=LOCKED) if len(batches) == 1 else Outcome(len(batch))

    writer = Writer(apply, Counts())
    for number in range(5):
        await writer.put(event(number))
    writer.end()
    await writer.run()
    assert batches[1] == [event(2), event(3), event(4)]


async def test_a_rejected_event_is_one_line_and_a_count(caplog: pytest.LogCaptureFixture) -> None:
    bad = UserJoined(username="bad\nname" + "x" * 200)

    def apply(batch: Sequence[Received], _: Position | None) -> Outcome:
        return Outcome(len(batch), [Rejection(bad, ValueError("no\nsuch"))])

    counts = Counts()
    writer = Writer(apply, counts)
    for number in range(3):
        await writer.put(event(number))
    writer.end()
    await writer.run()
    assert (counts.applied, counts.rejected) == (2, 1)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith("rejected by the database: user.joined UserJoined(")
    assert record.getMessage().isprintable()
    assert record.exc_info is None


async def test_a_fatal_error_of_the_database_ends_the_writer() -> None:
    def apply(_: Sequence[Received], __: Position | None) -> Outcome:
        raise NotADatabase("gone")

    writer = Writer(apply, Counts())
    await writer.put(event(1))
    with pytest.raises(NotADatabase):
        await writer.run()


async def test_a_batch_that_was_begun_is_counted_when_the_writer_is_cancelled() -> None:
    recorder = Recorder(held=True)
    counts = Counts()
    writer = Writer(recorder, counts, limiter=CapacityLimiter(1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        await writer.put(event(1))
        await to_thread.run_sync(recorder.begun.acquire)
        await writer.put(event(2))
        tasks.cancel_scope.cancel()
        recorder.let_go.release(2)
    assert counts.applied == 1
    assert counts.pending == 1
