"""The shipped BotDatabase, as a drop-in for that of Rosey v0.5.0."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.databases import locked, select

from rosey_dbsvc import BotDatabase
from rosey_dbsvc.storage.sqlite.chat import Line

HOUR = 3600
DAY = 24 * HOUR


class Clock:
    """A time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def db(path: Path, clock: Clock) -> Iterator[BotDatabase]:
    with closing(BotDatabase(path)) as database:
        database.use_clock(clock)
        yield database


# Users


def test_a_user_who_joins_first_has_a_row_and_a_session(db: BotDatabase, clock: Clock) -> None:
    db.user_joined("alice")
    assert db.get_user_stats("alice") == {
        "username": "alice",
        "first_seen": int(clock()),
        "last_seen": int(clock()),
        "total_chat_lines": 0,
        "total_time_connected": 0,
        "current_session_start": int(clock()),
    }


def test_a_user_who_joins_again_keeps_what_was(db: BotDatabase, clock: Clock) -> None:
    db.user_joined("alice")
    first = int(clock())
    db.user_chat_message("alice", "hi")
    clock.pass_(100)
    db.user_joined("alice")
    stats = db.get_user_stats("alice")
    assert stats is not None
    assert (stats["first_seen"], stats["last_seen"]) == (first, first + 100)
    assert (stats["total_chat_lines"], stats["current_session_start"]) == (1, first + 100)


def test_the_length_of_each_session_is_added_up(db: BotDatabase, clock: Clock) -> None:
    for seconds in (100, 50):
        db.user_joined("alice")
        clock.pass_(seconds)
        db.user_left("alice")
    stats = db.get_user_stats("alice")
    assert stats is not None
    assert (stats["total_time_connected"], stats["current_session_start"]) == (150, None)
    assert stats["last_seen"] == int(clock())


def test_leaving_without_a_session_changes_nothing(db: BotDatabase, clock: Clock) -> None:
    db.user_joined("alice")
    db.user_left("alice")
    before = db.get_user_stats("alice")
    clock.pass_(100)
    db.user_left("alice")
    db.user_left("nobody")
    assert db.get_user_stats("alice") == before
    assert db.get_user_stats("nobody") is None


def test_a_clock_that_is_set_back_takes_no_time_away(db: BotDatabase, clock: Clock) -> None:
    db.user_joined("alice")
    clock.pass_(-500)
    db.user_left("alice")
    stats = db.get_user_stats("alice")
    assert stats is not None
    assert stats["total_time_connected"] == 0


def test_an_action_is_remembered(db: BotDatabase, path: Path, clock: Clock) -> None:
    db.log_user_action("alice", "pm_command", "!help")
    db.log_user_action("alice", "kick")
    assert select(path, "SELECT timestamp, username, action_type, details FROM user_actions") == [
        (int(clock()), "alice", "pm_command", "!help"),
        (int(clock()), "alice", "kick", None),
    ]


def test_the_top_chatters_have_the_most_lines(db: BotDatabase) -> None:
    for name, lines in (("alice", 2), ("bob", 3), ("carol", 0)):
        db.user_joined(name)
        for _ in range(lines):
            db.user_chat_message(name)
    assert db.get_top_chatters() == [("bob", 3), ("alice", 2)]
    assert db.get_top_chatters(limit=1) == [("bob", 3)]
    assert db.get_total_users_seen() == 3


# Chat


def test_a_line_of_somebody_unknown_is_recent_and_makes_no_user(db: BotDatabase) -> None:
    db.user_chat_message("stranger", "hi")
    assert db.get_user_stats("stranger") is None
    assert [row["message"] for row in db.get_recent_chat()] == ["hi"]


@pytest.mark.parametrize("name", ["server", "Server", "SERVER"])
def test_what_the_server_says_is_not_recent_chat(db: BotDatabase, name: str) -> None:
    db.user_chat_message(name, "alice is now AFK")
    assert db.get_recent_chat() == []


@pytest.mark.parametrize("message", ["", None])
def test_an_empty_line_is_counted_and_not_remembered(db: BotDatabase, message: str | None) -> None:
    db.user_joined("alice")
    db.user_chat_message("alice", message)
    stats = db.get_user_stats("alice")
    assert stats is not None
    assert stats["total_chat_lines"] == 1
    assert db.get_recent_chat() == []


def test_recent_chat_is_in_true_order_within_one_second(db: BotDatabase) -> None:
    for number in range(30):
        db.user_chat_message("alice", str(number))
    assert [row["message"] for row in db.get_recent_chat(limit=3)] == ["27", "28", "29"]
    assert len(db.get_recent_chat()) == 20


def test_recent_chat_is_forgotten_after_150_hours(db: BotDatabase, clock: Clock) -> None:
    db.user_chat_message("alice", "old")
    clock.pass_(1)
    db.user_chat_message("alice", "kept")
    clock.pass_(150 * HOUR)
    db.user_chat_message("alice", "new")
    assert [row["message"] for row in db.get_recent_chat()] == ["kept", "new"]


def test_chat_since_some_minutes_ago(db: BotDatabase, clock: Clock) -> None:
    for message in ("first", "second", "third"):
        db.user_chat_message("alice", message)
        clock.pass_(600)
    assert db.get_recent_chat_since(minutes=20) == [
        {"timestamp": int(clock()) - 1200, "username": "alice", "message": "second"},
        {"timestamp": int(clock()) - 600, "username": "alice", "message": "third"},
    ]
    assert [row["message"] for row in db.get_recent_chat_since(60, limit=2)] == ["first", "second"]


line = st.tuples(
    st.integers(1_600_000_000, 1_600_000_000 + 200 * HOUR).map(float),
    st.sampled_from(["alice", "bob", "Server", "stranger", "nul\0name"]),
    st.none() | st.text(max_size=5),
)


@given(st.lists(line, max_size=40))
def test_many_lines_at_once_are_as_one_by_one(lines: list[Line]) -> None:
    lines.sort(key=itemgetter(0))
    assert said_by(lines) == said_by(*([each] for each in lines))


def said_by(*calls: list[Line]) -> list[tuple[Any, ...]]:
    """Return what is in the tables of chat after these."""
    with closing(BotDatabase(":memory:")) as database:
        database.use_clock(lambda: 1_600_000_000)
        for name in ("alice", "bob", "nul\0name"):
            database.user_joined(name)
        for lines in calls:
            database.user_chat_messages(lines)
        tables = "SELECT * FROM user_stats", "SELECT * FROM recent_chat"
        return [tuple(row) for table in tables for row in database.conn.execute(table)]


def test_very_many_lines_are_all_remembered_in_order(db: BotDatabase, clock: Clock) -> None:
    db.user_joined("alice")
    db.user_chat_messages([(clock(), "alice", str(number)) for number in range(1000)])
    said = [row["message"] for row in db.get_recent_chat(limit=2000)]
    assert said == [str(number) for number in range(1000)]
    stats = db.get_user_stats("alice")
    assert stats is not None
    assert stats["total_chat_lines"] == 1000


def test_each_commit_is_flushed_to_disk(db: BotDatabase) -> None:
    full = 2  # https://sqlite.org/pragma.html#pragma_synchronous
    assert db.conn.execute("PRAGMA synchronous").fetchone()[0] == full
    assert db.conn.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


# The channel


def test_a_high_water_mark_is_raised_only_when_exceeded(
    db: BotDatabase, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert db.get_high_water_mark() == db.get_high_water_mark_connected() == (0, None)
    db.update_high_water_mark(5, 8)
    then = int(clock())
    clock.pass_(10)
    db.update_high_water_mark(5, 9)
    db.update_high_water_mark(4)
    assert db.get_high_water_mark() == (5, then)
    assert db.get_high_water_mark_connected() == (9, then + 10)
    assert caplog.messages[-3:] == [
        "New high water mark (chat): 5 users",
        "New high water mark (connected): 8 viewers",
        "New high water mark (connected): 9 viewers",
    ]


def test_the_history_of_counts_is_oldest_first_and_bounded(db: BotDatabase, clock: Clock) -> None:
    for users in (1, 2, 3):
        db.log_user_count(users, users + 10)
        clock.pass_(12 * HOUR)
    history = db.get_user_count_history(hours=24)
    assert [(row["chat_users"], row["connected_users"]) for row in history] == [(2, 12), (3, 13)]
    assert set(history[0]) == {"timestamp", "chat_users", "connected_users"}


def test_old_history_is_cleaned_up(
    db: BotDatabase, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    db.log_user_count(1, 1)
    clock.pass_(31 * DAY)
    db.log_user_count(2, 2)
    assert db.cleanup_old_history() == 1
    assert caplog.messages[-1] == "Cleaned up 1 old history records"
    assert db.cleanup_old_history(days=30) == 0


def test_the_status_is_updated_column_by_column(db: BotDatabase, clock: Clock) -> None:
    db.update_current_status(bot_name="Rosey", bot_rank=3.5, unheard_of=1, id=7, last_updated=1)
    clock.pass_(10)
    db.update_current_status(bot_name=None, playlist_items=4)
    status = db.get_current_status()
    assert status is not None
    assert (status["id"], status["bot_name"], status["bot_rank"]) == (1, None, 3.5)
    assert (status["playlist_items"], status["last_updated"]) == (4, int(clock()))


def test_a_status_without_a_known_column_writes_nothing(db: BotDatabase, clock: Clock) -> None:
    before = db.get_current_status()
    clock.pass_(10)
    db.update_current_status(unheard_of=1)
    assert db.get_current_status() == before


# Outbound messages


def test_an_outbound_message_is_due_until_it_is_sent(
    db: BotDatabase, path: Path, clock: Clock
) -> None:
    first, second = db.enqueue_outbound_message("hello"), db.enqueue_outbound_message("you")
    assert db.get_unsent_outbound_messages(limit=1) == [
        {
            "id": first,
            "timestamp": int(clock()),
            "message": "hello",
            "retry_count": 0,
            "last_error": None,
        }
    ]
    db.mark_outbound_sent(first)
    assert [row["id"] for row in db.get_unsent_outbound_messages()] == [second]
    sent = select(path, "SELECT sent_timestamp FROM outbound_messages WHERE sent = 1")
    assert sent == [(int(clock()),)]


def test_a_failed_message_is_due_again_after_2_to_the_retries_minutes(
    db: BotDatabase, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    number = db.enqueue_outbound_message("hello")
    db.mark_outbound_failed(number, "not connected")
    assert caplog.messages[-1] == f"Outbound message {number} failed (will retry): not connected"
    db.mark_outbound_failed(number, "not connected")
    clock.pass_(4 * 60 - 1)
    assert db.get_unsent_outbound_messages() == []
    clock.pass_(1)
    (row,) = db.get_unsent_outbound_messages()
    assert (row["retry_count"], row["last_error"]) == (2, "not connected")
    assert db.get_unsent_outbound_messages(max_retries=2) == []


def test_a_message_with_very_many_retries_is_not_due(db: BotDatabase, clock: Clock) -> None:
    number = db.enqueue_outbound_message("hello")
    for _ in range(70):
        db.mark_outbound_failed(number, "no")
    clock.pass_(365 * DAY)
    assert db.get_unsent_outbound_messages(max_retries=1000) == []


def test_a_message_that_failed_for_good_is_not_tried_again(
    db: BotDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    number = db.enqueue_outbound_message("hello")
    db.mark_outbound_failed(number, "banned", is_permanent=True)
    assert caplog.messages[-1] == f"Outbound message {number} permanently failed: banned"
    assert db.get_unsent_outbound_messages() == []


# Tokens


def test_a_token_is_valid_until_it_is_revoked(db: BotDatabase, clock: Clock) -> None:
    token = db.generate_api_token("the web page")
    assert len(token) == 43
    assert db.validate_api_token(token)
    assert not db.validate_api_token(token[:-1])
    assert not db.validate_api_token("")
    (listed,) = db.list_api_tokens()
    assert listed == {
        "description": "the web page",
        "created_at": int(clock()),
        "last_used": int(clock()),
        "revoked": 0,
        "token_preview": f"{token[:8]}...",
    }
    assert db.revoke_api_token(token) == 1
    assert not db.validate_api_token(token)
    assert db.list_api_tokens() == []
    assert len(db.list_api_tokens(include_revoked=True)) == 1


def test_tokens_are_listed_newest_first_and_never_shown(
    db: BotDatabase, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = []
    for description in ("first", "second", "third"):
        tokens.append(db.generate_api_token(description))
        clock.pass_(1)
    assert [row["description"] for row in db.list_api_tokens()] == ["third", "second", "first"]
    for token in tokens:
        assert token not in str(db.list_api_tokens())
        assert token not in caplog.text


def test_eight_characters_name_a_token_and_fewer_do_not(
    db: BotDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    token = db.generate_api_token()
    assert db.revoke_api_token(token[:7]) == 0
    assert db.revoke_api_token("") == 0
    assert db.revoke_api_token(token[:8]) == 1
    assert caplog.messages[-1] == "Revoked 1 API token(s)"


@pytest.mark.parametrize("wild", ["%%%%%%%%", "________", "%_%_%_%_%"])
def test_percent_and_underscore_in_a_prefix_are_ordinary_characters(
    db: BotDatabase, wild: str
) -> None:
    db.generate_api_token()
    assert db.revoke_api_token(wild) == 0


# Maintenance and closing


def test_maintenance_says_what_it_did(
    db: BotDatabase, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    db.log_user_count(1, 1)
    db.mark_outbound_sent(db.enqueue_outbound_message("sent"))
    db.enqueue_outbound_message("unsent")
    db.revoke_api_token(db.generate_api_token("revoked"))
    db.generate_api_token("valid")
    clock.pass_(91 * DAY)
    done = [
        "Cleaned 1 old history records",
        "Cleaned 1 old outbound messages",
        "Cleaned 1 old revoked tokens",
        "VACUUM completed",
        "ANALYZE completed",
    ]
    assert db.perform_maintenance() == done
    assert caplog.messages[-1] == f"Database maintenance completed: {', '.join(done)}"
    assert db.perform_maintenance() == ["VACUUM completed", "ANALYZE completed"]
    assert len(db.get_unsent_outbound_messages()) == len(db.list_api_tokens()) == 1


def test_maintenance_that_fails_says_so_and_raises(
    db: BotDatabase, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    db.conn.execute("PRAGMA busy_timeout = 1")
    with locked(path), pytest.raises(sqlite3.OperationalError):
        db.perform_maintenance()
    assert caplog.messages[-1] == "Database maintenance error: database is locked"
    assert not db.conn.in_transaction


def test_closing_ends_every_session_and_may_be_done_twice(path: Path, clock: Clock) -> None:
    db = BotDatabase(path)
    db.use_clock(clock)
    for name in ("alice", "bob"):
        db.user_joined(name)
    clock.pass_(60)
    db.close()
    db.close()
    sql = "SELECT total_time_connected, last_seen, current_session_start FROM user_stats"
    assert select(path, sql) == [(60, int(clock()), None)] * 2


def test_a_method_that_fails_leaves_nothing_behind(db: BotDatabase, path: Path) -> None:
    db.user_joined("alice")
    with pytest.raises(sqlite3.Error):
        db.user_chat_message("alice", object())  # type: ignore[arg-type]
    assert not db.conn.in_transaction
    assert select(path, "SELECT total_chat_lines FROM user_stats") == [(0,)]


def test_it_says_what_operators_look_for(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    BotDatabase(path).close()
    assert caplog.messages == [
        f"Connected to database: {path}",
        "Database tables initialized",
        "Database connection closed",
    ]


def test_it_works_in_memory_too() -> None:
    with closing(BotDatabase(":memory:")) as db:
        db.user_joined("alice")
        assert db.get_total_users_seen() == 1
        assert db.in_memory


LINES = st.lists(
    st.tuples(
        st.integers(0, 100).map(lambda days: 1_700_000_000.0 + days * DAY / 4),
        st.sampled_from(["alice", "bob", "server"]),
        st.sampled_from(["", "hi"]),
    ),
    max_size=40,
)


@given(lines=LINES, cuts=st.lists(st.integers(0, 40)))
def test_lines_leave_the_same_tables_however_they_are_parted(
    lines: list[Line], cuts: list[int]
) -> None:
    whole, parted, single = (BotDatabase(":memory:") for _ in range(3))
    for database in (whole, parted, single):
        database.use_clock(lambda: 1_700_000_000)
        database.user_joined("alice")
    whole.user_chat_messages(lines)
    for begin, end in pairwise(sorted({0, *cuts, len(lines)})):
        parted.user_chat_messages(lines[begin:end])
    for line in lines:
        single.user_chat_messages([line])
    tables = [[*dump(database)] for database in (whole, parted, single)]
    assert tables[0] == tables[1] == tables[2]
    for database in (whole, parted, single):
        database.close()


def dump(database: BotDatabase) -> Iterator[list[tuple[object, ...]]]:
    for table in ("recent_chat", "user_stats", "sqlite_sequence"):
        yield [tuple(row) for row in database.conn.execute(f"SELECT * FROM {table}")]
