"""Old rows are deleted in steps, and no others."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.databases import locked

from rosey_dbsvc import BotDatabase
from rosey_dbsvc.storage.sqlite.retention import DAY, MAX_ROWS, MIN_ROWS, Retention

NOW = 1_800_000_000
HISTORY = "INSERT INTO user_count_history (id, timestamp, chat_users, connected_users)"
OUTBOUND = "INSERT INTO outbound_messages (timestamp, message, sent, sent_timestamp)"
TOKEN = "INSERT INTO api_tokens (token, created_at, revoked)"

days = st.integers(0, 200).map(lambda days: NOW - days * DAY)
edges = st.integers(-2, 2).flatmap(
    lambda near: st.sampled_from([7, 30, 90]).map(lambda age: NOW - age * DAY + near)
)
times = days | edges


@pytest.fixture
def db() -> Iterator[BotDatabase]:
    with closing(BotDatabase(":memory:")) as database:
        yield database


def insert(db: BotDatabase, *, history: int = 0, age: int = 31) -> None:
    rows = [(number, NOW - age * DAY) for number in range(1, history + 1)]
    with db.conn:
        db.conn.executemany(f"{HISTORY} VALUES (?, ?, 1, 1)", rows)


def finish(retention: Retention) -> list[str]:
    while retention.step():
        pass
    return retention.done


def counts(db: BotDatabase) -> list[int]:
    tables = ("user_count_history", "outbound_messages", "api_tokens")
    return [db.conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]


@given(
    history=st.lists(times, max_size=400),
    outbound=st.lists(st.tuples(st.booleans(), times), max_size=300),
    tokens=st.lists(st.tuples(st.booleans(), times), max_size=10),
    gap=st.integers(1, 10**15),
)
def test_exactly_the_old_rows_are_deleted(
    history: list[int], outbound: list[tuple[bool, int]], tokens: list[tuple[bool, int]], gap: int
) -> None:
    with closing(BotDatabase(":memory:")) as db:
        ids = count(-gap, gap)
        with db.conn:
            db.conn.executemany(f"{HISTORY} VALUES (?, ?, 1, 1)", zip(ids, history, strict=False))
            db.conn.executemany(f"{OUTBOUND} VALUES (0, '', ?, ?)", outbound)
            rows = [(number, at, revoked) for number, (revoked, at) in enumerate(tokens)]
            db.conn.executemany(f"{TOKEN} VALUES (?, ?, ?)", rows)
        old = [
            sum(at < NOW - 30 * DAY for at in history),
            sum(sent and at < NOW - 7 * DAY for sent, at in outbound),
            sum(revoked and at < NOW - 90 * DAY for revoked, at in tokens),
        ]
        retention = db.retention(NOW)
        assert retention.total() == len(history) + len(outbound) + len(tokens)
        done = finish(retention)
        whats = ("history records", "outbound messages", "revoked tokens")
        assert done == [f"Cleaned {n} old {w}" for n, w in zip(old, whats, strict=True) if n]
        left = [len(history) - old[0], len(outbound) - old[1], len(tokens) - old[2]]
        assert counts(db) == left
        assert retention.visited == sum(left) + sum(old)


def test_each_step_is_a_transaction_of_its_own(db: BotDatabase) -> None:
    insert(db, history=3 * MIN_ROWS)
    retention = db.retention(NOW)
    assert retention.step()
    assert not db.conn.in_transaction
    assert counts(db)[0] == 2 * MIN_ROWS


def test_steps_become_longer_while_they_are_short(db: BotDatabase) -> None:
    insert(db, history=10_000)
    retention = Retention(lambda: db.conn, NOW, timer=lambda: 0.0)
    assert finish(retention) == ["Cleaned 10000 old history records"]
    assert retention.rows == MAX_ROWS


class SlowDisk:
    """Steps by a stopwatch on which a row takes so long, in seconds."""

    def __init__(self, db: BotDatabase, cost: float) -> None:
        self.cost = cost
        self.passed: list[float] = []
        self._now = 0.0
        self._retention = Retention(lambda: db.conn, NOW, timer=self._time)

    def _time(self) -> float:
        self._now += self._retention.rows * self.cost
        return self._now

    def step(self) -> bool:
        self.passed.append(self._retention.rows * self.cost)
        return self._retention.step()


@pytest.mark.parametrize("cost", [0.00001, 0.0001, 0.0005, 0.001])
def test_no_step_takes_more_than_50_ms(db: BotDatabase, cost: float) -> None:
    insert(db, history=5_000)
    disk = SlowDisk(db, cost)
    while disk.step():
        pass
    assert max(disk.passed) <= 0.05


def test_a_disk_that_becomes_slow_makes_steps_shorter(db: BotDatabase) -> None:
    insert(db, history=5_000)
    disk = SlowDisk(db, 0.00001)
    while len(disk.passed) < 8:
        disk.step()
    disk.cost = 0.0005
    while disk.step():
        pass
    assert max(disk.passed[8:10]) > 0.05
    assert max(disk.passed[10:]) <= 0.05


def test_a_step_that_fails_can_be_repeated(path: Path) -> None:
    with closing(BotDatabase(path)) as db:
        insert(db, history=10)
        db.conn.execute("PRAGMA busy_timeout = 0")
        retention = db.retention(NOW)
        with locked(path), pytest.raises(sqlite3.OperationalError, match="locked"):
            retention.step()
        assert not db.conn.in_transaction
        assert finish(retention) == ["Cleaned 10 old history records"]
