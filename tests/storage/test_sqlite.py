"""Storage over our own database: what it does beyond the protocol."""

import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage.backends import OwnBotDatabase, batch, joined
from support.databases import locked, select
from support.golden import Case, accepted, prepare, untimed

from rosey_dbsvc import BotDatabase, adopt
from rosey_dbsvc.operations.base import Event, Query
from rosey_dbsvc.operations.chat import ChatLine, MessageLog, StatsRecentChatGet
from rosey_dbsvc.operations.codec import decode, decode_reply, encode_rows
from rosey_dbsvc.operations.outbound import MessagesOutboundGet, OutboundMessage
from rosey_dbsvc.operations.users import UserLeft
from rosey_dbsvc.storage.protocol import Received, Storage
from rosey_dbsvc.storage.sqlite.chat import Line
from rosey_dbsvc.storage.sqlite.storage import MAX_READERS, SqliteStorage


@pytest.fixture
def database(path: Path) -> Iterator[BotDatabase]:
    with closing(BotDatabase(path)) as database:
        yield database


@pytest.fixture
def storage(database: BotDatabase) -> Iterator[Storage]:
    storage = adopt(database)
    assert isinstance(storage, SqliteStorage)
    yield storage
    storage.release()


def messages(*texts: str) -> list[Received]:
    return batch(*(MessageLog(username="alice", message=text) for text in texts))


def recent(storage: Storage) -> list[str]:
    return [row["message"] for row in storage.answer(StatsRecentChatGet(limit=1000), list)]


def test_consecutive_messages_are_one_call(
    storage: Storage, database: BotDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    store = database.user_chat_messages

    def note(lines: Sequence[Line]) -> None:
        calls.append(len(lines))
        store(lines)

    monkeypatch.setattr(database, "user_chat_messages", note)
    received = messages(*map(str, range(600)))
    outcome = storage.apply([*received[:300], *joined("bob"), *received[300:]])
    assert (outcome.settled, outcome.rejections) == (601, [])
    assert recent(storage) == [str(number) for number in range(600)]
    assert calls == [300, 300]


def test_a_message_at_fault_among_many_costs_itself(
    storage: Storage, database: BotDatabase
) -> None:
    database.conn.execute(
        "CREATE TRIGGER picky BEFORE INSERT ON recent_chat WHEN new.message = 'poison'"
        " BEGIN SELECT raise(ABORT, 'not that'); END"
    )
    outcome = storage.apply(messages(*map(str, range(500)), "poison", *map(str, range(500, 999))))
    assert [str(each.reason) for each in outcome.rejections] == ["not that"]
    assert recent(storage) == [*map(str, range(999))]


def test_now_is_when_the_event_was_received(storage: Storage, database: BotDatabase) -> None:
    storage.apply([*joined("alice"), *batch(UserLeft(username="alice"), at=1060.9)])
    assert database.get_user_stats("alice") == {
        "username": "alice",
        "first_seen": 1000,
        "last_seen": 1060,
        "total_chat_lines": 0,
        "total_time_connected": 60,
        "current_session_start": None,
    }


def test_a_reader_does_not_see_a_batch_before_its_commit_and_does_not_wait(
    storage: Storage, path: Path
) -> None:
    storage.apply(messages("first"))
    with locked(path) as other:
        other.execute("INSERT INTO recent_chat VALUES (9, 1, 'bob', 'second')")
        assert recent(storage) == ["first"]


def test_queries_read_at_once(storage: Storage) -> None:
    assert storage.readers == MAX_READERS
    storage.apply(messages("hi"))
    all_read = Barrier(MAX_READERS)

    def use(rows: Any) -> int:
        next(iter(rows))
        return all_read.wait(timeout=10)

    with ThreadPoolExecutor(MAX_READERS) as threads:
        reading = [
            threads.submit(storage.answer, StatsRecentChatGet(), use) for _ in range(MAX_READERS)
        ]
        assert {each.result() for each in reading} == {*range(MAX_READERS)}


def test_a_database_in_memory_is_read_on_its_only_connection() -> None:
    with closing(BotDatabase(":memory:")) as database:
        storage = adopt(database)
        assert (storage.readers, storage.file, storage.name) == (0, "", "BotDatabase")
        storage.apply(messages("hi"))
        assert recent(storage) == ["hi"]


def test_a_query_that_is_not_read_to_its_end_delays_nobody(
    storage: Storage, database: BotDatabase
) -> None:
    storage.apply(messages(*["hi"] * 10))
    with pytest.raises(ZeroDivisionError) as held:
        storage.answer(StatsRecentChatGet(), lambda rows: 1 / 0 if next(iter(rows)) else 1)
    storage.apply(messages("hi"))
    assert database.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    assert held.tb, "and the exception is still there"


def test_the_retention_is_the_database_s(storage: Storage, path: Path) -> None:
    day = 86_400
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.executemany("INSERT INTO user_count_history VALUES (NULL, ?, 1, 1)", [(0,), (day,)])
    retention = storage.retention(now=30.5 * day)
    assert retention is not None
    while retention.step():
        pass
    assert retention.done == ["Cleaned 1 old history records"]
    assert select(path, "SELECT timestamp FROM user_count_history") == [(day,)]


@pytest.mark.parametrize("kind", [BotDatabase, OwnBotDatabase])
@pytest.mark.parametrize("case", accepted())
def test_an_accepted_payload_makes_its_rows(
    path: Path, case: Case, kind: type[BotDatabase]
) -> None:
    with closing(kind(path)) as database:
        prepare(database, case)
        storage = adopt(database)
        payload = decode(case.operation, case.payload)
        if isinstance(payload, Event):
            assert storage.apply(batch(payload)).rejections == []
            rows = [list(row) for row in select(path, case.expected["sql"])]
            assert rows == case.expected["rows"]
        else:
            assert isinstance(payload, Query)
            answered = storage.answer(payload, list)
            assert [untimed(row) for row in answered] == case.expected["reply"]
        storage.release()


def test_threads_that_race_for_the_last_reader_each_get_one(storage: Storage) -> None:
    class TakenMeanwhile(list[Any]):
        """A list from which another thread takes the last item between two statements."""

        def __len__(self) -> int:
            return 1

    storage._idle = TakenMeanwhile()  # type: ignore[attr-defined]
    assert recent(storage) == []


ODD: Final = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text().filter(lambda text: "\0" not in text),
    st.binary(max_size=20),
)


TABLES: Final = (
    "CREATE TABLE recent_chat (id INTEGER PRIMARY KEY, timestamp, username, message)",
    (
        "CREATE TABLE outbound_messages (id INTEGER PRIMARY KEY, timestamp, message, last_error,"
        " sent DEFAULT 0, retry_count DEFAULT 0)"
    ),
)


@given(rows=st.lists(st.tuples(ODD, ODD, ODD, st.booleans()), max_size=5))
def test_odd_rows_of_other_programs_are_made_readable(rows: list[tuple[Any, ...]]) -> None:
    with closing(BotDatabase(":memory:")) as database:
        database.conn.executescript("DROP TABLE recent_chat; DROP TABLE outbound_messages")
        for table in TABLES:
            database.conn.execute(table)
        for *values, as_text in rows:
            three = ", ".join(["CAST(? AS TEXT)" if as_text else "?"] * 3)
            for table, columns in (
                ("recent_chat", "timestamp, username, message"),
                ("outbound_messages", "timestamp, message, last_error"),
            ):
                database.conn.execute(f"INSERT INTO {table} ({columns}) VALUES ({three})", values)
        storage = adopt(database)
        encode = partial(encode_rows, max_bytes=2**20)
        chat = storage.answer(StatsRecentChatGet(limit=100), encode)
        assert len(decode_reply(list[ChatLine], chat)) == len(rows)
        due = storage.answer(MessagesOutboundGet(limit=100), encode)
        assert len(decode_reply(list[OutboundMessage], due)) <= len(rows)
        storage.release()


def test_text_that_is_not_utf_8_has_replacement_characters(
    database: BotDatabase, storage: Storage
) -> None:
    database.conn.execute(
        "INSERT INTO recent_chat (timestamp, username, message)"
        " VALUES (1, 'bob', CAST(x'636166e9' AS TEXT))"
    )
    database.conn.commit()
    assert recent(storage) == ["caf\ufffd"]
    assert recent(storage) == ["caf\ufffd"]


def test_a_message_without_a_user_is_ignored_as_by_rosey(database: BotDatabase) -> None:
    database.user_chat_message(None, "hello")  # type: ignore[arg-type]
    database.user_chat_message("", "hello")
    assert database.get_recent_chat() == []
