"""Anybody's BotDatabase."""

import errno
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from support.databases import OldBotDatabase, SpecDatabase, locked, select
from support.golden import Case, accepted, prepare, untimed

from rosey_dbsvc import BotDatabase, adopt
from rosey_dbsvc.errors import DatabaseInUse, NotADatabase, NotAdoptable
from rosey_dbsvc.operations.base import (
    Event,
    MessageLog,
    MessagesOutboundGet,
    MessagesOutboundMarkSent,
    StatsHighWater,
    StatsRecentChatGet,
    StatsUserCount,
    StatusUpdate,
    UserJoined,
    UserLeft,
)
from rosey_dbsvc.operations.codec import decode
from rosey_dbsvc.storage.sqlite.chat import Line
from rosey_dbsvc.storage.storage import SINGLY, Received, Storage

EACH_EVENT: list[Event] = [
    UserJoined(username="alice"),
    MessageLog(username="alice", message="hi"),
    MessageLog(username="alice", message=""),
    UserLeft(username="alice"),
    StatsUserCount(chat_count=3, connected_count=4),
    StatsHighWater(chat_count=3, connected_count=4),
    StatusUpdate(status_data={"bot_name": "Rosey"}),
    StatusUpdate(status="up"),
    MessagesOutboundMarkSent(message_id=7),
]


def batch(*events: Event, at: float = 1000.0) -> list[Received]:
    return [Received(event, at, 10) for event in events]


def joined(*names: str) -> list[Received]:
    return batch(*(UserJoined(username=name) for name in names))


@pytest.fixture
def old(path: Path) -> Iterator[OldBotDatabase]:
    with closing(OldBotDatabase(str(path))) as database:
        yield database


def test_the_methods_of_v0_5_0_are_called() -> None:
    with closing(OldBotDatabase(":memory:")) as old:
        adopt(old).apply(batch(*EACH_EVENT))
        assert old.logged() == [
            "joined alice",
            "said alice hi",
            "left alice",
            "count 3 4",
            "mark 3 4",
            "status {'bot_name': 'Rosey'}",
            "sent 7",
        ]


def test_the_methods_of_the_specification_are_called() -> None:
    database = SpecDatabase()
    adopt(database).apply(batch(*EACH_EVENT))
    assert database.calls == [
        ("joined", "alice"),
        ("said", "alice", "hi"),
        ("left", "alice"),
        ("count", 3, 4),
        ("mark", 3, 4),
        ("sent", 7),
    ]


def test_a_method_gets_of_a_query_what_it_takes(old: OldBotDatabase) -> None:
    spec = adopt(SpecDatabase())
    assert spec.answer(MessagesOutboundGet(username="alice", limit=5), list) == [
        {"to": "alice", "limit": 5}
    ]
    assert spec.answer(MessagesOutboundGet(limit=5), list) == [], "it needs a username"
    assert spec.answer(MessagesOutboundGet(username=""), list) == []
    assert spec.answer(StatsRecentChatGet(limit=5), list) == [{"limit": 5}]
    storage = adopt(old)
    storage.apply(joined("alice", "bob", "carol"))
    assert len(storage.answer(MessagesOutboundGet(username="alice", max_retries=2), list)) == 2
    assert len(storage.answer(MessagesOutboundGet(limit=1), list)) == 1


def test_a_method_that_takes_anything_gets_all_of_a_query() -> None:
    class Anything(SpecDatabase):
        def get_unsent_outbound_messages(self, **given: Any) -> list[Any]:  # type: ignore[override]
            return [given]

    assert adopt(Anything()).answer(MessagesOutboundGet(limit=5), list) == [
        {"limit": 5, "max_retries": 3}
    ]


def test_a_missing_method_is_named_with_its_operation() -> None:
    class Lacking(SpecDatabase):
        message_logged = None  # type: ignore[assignment]

    with pytest.raises(NotAdoptable) as caught:
        adopt(Lacking())
    assert str(caught.value) == (
        "Lacking cannot serve the operation message.log: "
        "it has no method user_chat_message or message_logged"
    )


def test_a_connection_of_one_thread_is_refused_with_what_to_do(path: Path) -> None:
    with (
        closing(OldBotDatabase(str(path), check_same_thread=True)) as old,
        pytest.raises(NotAdoptable, match="check_same_thread=False"),
    ):
        adopt(old)


def commits(path: Path, storage: Storage, received: list[Received]) -> int:
    """Return how many transactions reached the file."""
    watcher = sqlite3.connect(path)
    with closing(watcher):
        seen = set()

        def note(_: str) -> None:
            seen.add(watcher.execute("PRAGMA data_version").fetchone()[0])

        storage.database.conn.conn.set_trace_callback(note)  # type: ignore[attr-defined]
        storage.apply(received)
        storage.database.conn.conn.set_trace_callback(None)  # type: ignore[attr-defined]
        note("")
    return len(seen) - 1


def test_a_batch_is_one_transaction_though_each_method_commits(
    path: Path, old: OldBotDatabase
) -> None:
    assert commits(path, adopt(old), joined(*"abcdefgh")) == 1
    assert len(select(path, "SELECT * FROM log")) == 8


def test_the_connection_is_given_back_and_commits_by_itself_again(
    path: Path, old: OldBotDatabase
) -> None:
    conn = old.conn
    storage = adopt(old)
    assert old.conn is not conn
    storage.release()
    assert old.conn is conn
    old.user_joined("alice")
    assert select(path, "SELECT what FROM log") == [("joined alice",)]


def test_what_a_host_calls_between_batches_is_committed(path: Path, old: OldBotDatabase) -> None:
    storage = adopt(old)
    old.user_joined("host")
    old.conn.execute("INSERT INTO log (what) VALUES ('left open')")
    storage.apply(joined("alice"))
    assert select(path, "SELECT what FROM log ORDER BY id") == [
        ("joined host",),
        ("left open",),
        ("joined alice",),
    ]


def test_a_connection_in_autocommit_mode_is_left_alone() -> None:
    with closing(OldBotDatabase(":memory:", isolation_level=None)) as old:
        storage = adopt(old)
        assert not storage.commits_batches
        assert storage.apply(joined("alice", "bob")).settled == 2
        assert old.logged() == ["joined alice", "joined bob"]


class Poisoned(OldBotDatabase):
    """Fails on one name, after it has written."""

    def user_joined(self, username: str) -> None:
        self._log("joined", username)
        if username == "poison":
            raise KeyError(username)


class RollingBack(OldBotDatabase):
    """Rolls back by itself, and says nothing."""

    def user_joined(self, username: str) -> None:
        try:
            with self.conn:
                self.conn.execute("INSERT INTO log (what) VALUES (?)", (username,))
                if username == "poison":
                    raise KeyError(username)
        except KeyError:
            self.conn.rollback()


def test_a_poison_event_costs_itself_and_nothing_else(path: Path) -> None:
    names = [f"user{number}" for number in range(999)]
    with closing(Poisoned(str(path))) as database:
        outcome = adopt(database).apply(joined(*names[:500], "poison", *names[500:]))
    assert outcome.settled == 1000
    ((event, reason),) = outcome.rejections
    assert event == UserJoined(username="poison")
    assert isinstance(reason, KeyError)
    logged = select(path, "SELECT what FROM log ORDER BY id")
    assert logged == [(f"joined {name}",) for name in names]


def test_a_method_that_rolls_back_undoes_only_its_own_event(path: Path) -> None:
    with closing(RollingBack(str(path))) as database:
        outcome = adopt(database).apply(joined("alice", "poison", "bob"))
    assert (outcome.settled, outcome.rejections) == (3, [])
    assert select(path, "SELECT what FROM log ORDER BY id") == [("alice",), ("bob",)]


def test_a_method_that_rolls_back_outside_of_a_batch_is_not_in_its_way(path: Path) -> None:
    with closing(RollingBack(str(path))) as database:
        storage = adopt(database)
        database.user_joined("poison")
        database.user_joined("alice")
        storage.release()
    assert select(path, "SELECT what FROM log") == [("alice",)]


def test_lines_that_follow_each_other_are_one_call(path: Path) -> None:
    calls: list[int] = []

    class Counting(BotDatabase):
        def user_chat_message(self, username: str, message: str | None = None) -> None:
            raise AssertionError(f"{username} said {message}, and alone")

        def user_chat_messages(self, lines: Sequence[Line]) -> None:
            calls.append(len(lines))
            super().user_chat_messages(lines)

    lines = batch(*(MessageLog(username="alice", message=str(number)) for number in range(600)))
    with closing(Counting(path)) as database:
        storage = adopt(database)
        outcome = storage.apply([*lines[:300], *joined("bob"), *lines[300:]])
        assert (outcome.settled, outcome.rejections) == (601, [])
        said = [row["message"] for row in storage.answer(StatsRecentChatGet(limit=1000), list)]
        assert said == [str(number) for number in range(600)]
        storage.release()
    assert calls == [300, 300]


def test_a_class_with_its_own_way_with_a_line_is_asked_for_each(path: Path) -> None:
    class Shouting(BotDatabase):
        def user_chat_message(self, username: str, message: str | None = None) -> None:
            super().user_chat_message(username, (message or "").upper())

    lines = batch(*(MessageLog(username="alice", message=f"m{n}") for n in range(3)))
    with closing(Shouting(path)) as database:
        storage = adopt(database)
        storage.apply(lines)
        assert [row["message"] for row in database.get_recent_chat()] == ["M0", "M1", "M2"]
        storage.release()
        database.user_chat_message = lambda *_: None  # type: ignore[method-assign]
        storage = adopt(database)
        storage.apply(lines)
        assert len(database.get_recent_chat()) == 3
        storage.release()


def test_a_class_with_its_own_way_with_a_query_is_asked_itself(path: Path) -> None:
    class Silent(BotDatabase):
        def get_recent_chat(self, limit: int = 20) -> list[dict[str, Any]]:
            return [{"limit": limit}]

    with closing(Silent(path)) as database:
        storage = adopt(database)
        assert not storage.reads_apart
        assert storage.answer(StatsRecentChatGet(limit=7), list) == [{"limit": 7}]
        storage.release()


def test_a_line_at_fault_among_many_costs_itself(path: Path) -> None:
    with closing(BotDatabase(path)) as database:
        database.conn.execute(
            "CREATE TRIGGER picky BEFORE INSERT ON recent_chat WHEN new.message = 'poison'"
            " BEGIN SELECT raise(ABORT, 'not that'); END"
        )
        storage = adopt(database)
        said = [*map(str, range(500)), "poison", *map(str, range(500, 999))]
        outcome = storage.apply(batch(*(MessageLog(username="a", message=m) for m in said)))
        assert [str(each.reason) for each in outcome.rejections] == ["not that"]
        kept = [row["message"] for row in storage.answer(StatsRecentChatGet(limit=1000), list)]
        assert kept == [*map(str, range(999))]
        storage.release()


def test_without_a_connection_a_poison_event_costs_itself_as_well() -> None:
    class PoisonedSpec(SpecDatabase):
        def user_joined(self, username: str) -> None:
            if username == "poison":
                raise ValueError(username)
            super().user_joined(username)

    database = PoisonedSpec()
    outcome = adopt(database).apply(joined("alice", "poison", "bob"))
    assert (outcome.settled, len(outcome.rejections)) == (3, 1)
    assert database.calls == [("joined", "alice"), ("joined", "bob")]


def test_without_a_connection_an_obstacle_keeps_what_is_settled() -> None:
    class Full(SpecDatabase):
        def user_joined(self, username: str) -> None:
            if len(self.calls) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            super().user_joined(username)

    outcome = adopt(Full()).apply(joined("alice", "bob", "carol"))
    assert (outcome.settled, outcome.rejections) == (2, [])
    assert isinstance(outcome.obstacle, OSError)


def test_a_locked_file_is_an_obstacle_and_no_event_is_applied(
    path: Path, old: OldBotDatabase
) -> None:
    storage = adopt(old)
    with locked(path):
        outcome = storage.apply(joined("alice"))
    assert (outcome.settled, outcome.rejections) == (0, [])
    assert "locked" in str(outcome.obstacle)
    assert storage.apply(joined("alice")).settled == 1
    assert len(select(path, "SELECT * FROM log")) == 1


def test_a_full_disk_is_an_obstacle_and_no_event_is_applied(
    path: Path, old: OldBotDatabase
) -> None:
    storage = adopt(old)
    (pages,) = old.conn.execute("PRAGMA page_count").fetchone()
    old.conn.execute(f"PRAGMA max_page_count = {pages}")
    outcome = storage.apply(joined(*("x" * 200 for _ in range(1000))))
    assert (outcome.settled, outcome.rejections) == (0, [])
    assert "full" in str(outcome.obstacle)
    assert select(path, "SELECT * FROM log") == []
    old.conn.execute("PRAGMA max_page_count = 1073741823")
    assert storage.apply(joined("alice")).settled == 1


def test_a_full_disk_among_poison_is_still_an_obstacle(path: Path) -> None:
    with closing(Poisoned(str(path))) as database:
        storage = adopt(database)
        (pages,) = database.conn.execute("PRAGMA page_count").fetchone()
        database.conn.execute(f"PRAGMA max_page_count = {pages}")
        outcome = storage.apply(joined("poison", *("x" * 200 for _ in range(1000))))
    assert (outcome.settled, outcome.rejections) == (0, [])
    assert "full" in str(outcome.obstacle)


class PoisonedToo(BotDatabase):
    """Fails on one name."""

    def user_joined(self, username: str) -> None:
        if username == "poison":
            raise KeyError(username)
        super().user_joined(username)


@pytest.mark.parametrize("room", range(8))
def test_a_disk_that_fills_up_while_poison_is_sought_loses_nothing(path: Path, room: int) -> None:
    with closing(PoisonedToo(path)) as database:
        storage = adopt(database)
        (pages,) = database.conn.execute("PRAGMA page_count").fetchone()
        database.conn.execute(f"PRAGMA max_page_count = {pages + room}")
        received = joined("poison", *(f"{number}".rjust(200) for number in range(300)))
        outcome = storage.apply(received)
        assert (outcome.settled, outcome.rejections) == (0, [])
        assert outcome.obstacle
        assert select(path, "SELECT * FROM user_stats") == []
        database.conn.execute("PRAGMA max_page_count = 1000000")
        outcome = storage.apply(received)
        assert (outcome.settled, len(outcome.rejections)) == (301, 1)
        assert select(path, "SELECT count(*) FROM user_stats") == [(300,)]
        storage.release()


def test_a_full_disk_that_a_method_says_nothing_of_is_noticed(path: Path) -> None:
    class Silent(BotDatabase):
        def user_joined(self, username: str) -> None:
            with suppress(sqlite3.Error):
                super().user_joined(username)

    with closing(Silent(path)) as database:
        storage = adopt(database)
        (pages,) = database.conn.execute("PRAGMA page_count").fetchone()
        database.conn.execute(f"PRAGMA max_page_count = {pages + 2}")
        received = joined(*(f"{number}".rjust(200) for number in range(300)))
        outcome = storage.apply(received)
        assert (outcome.settled, outcome.rejections) == (0, [])
        assert isinstance(outcome.obstacle, OSError)
        database.conn.execute("PRAGMA max_page_count = 1000000")
        assert storage.apply(received).settled == 300
        assert select(path, "SELECT count(*) FROM user_stats") == [(300,)]
        storage.release()


class OwnWay(OldBotDatabase):
    """Has transactions of its own, in one of several ways."""

    def __init__(self, path: str, way: str) -> None:
        super().__init__(path)
        self._alias = self.conn
        self._way = way

    def user_joined(self, username: str) -> None:
        if self._way == "begins":
            self.conn.execute("BEGIN IMMEDIATE")
        self.conn.execute("INSERT INTO log (what) VALUES (?)", (username,))
        if username == "poison" and self._way == "fails after its COMMIT":
            self.conn.execute("COMMIT")
            raise KeyError(username)
        if username == "poison":
            self.conn.rollback()
            raise KeyError(username)
        if self._way == "commits by an alias":
            self._alias.commit()
        elif self._way == "executes a script":
            self.conn.executescript("SELECT 1")
        elif self._way == "writes after a script":
            self.conn.executescript("SELECT 1")
            self.conn.execute("UPDATE log SET what = what")
        elif self._way == "rolls back":
            self.conn.execute("ROLLBACK")
        elif self._way == "executes COMMIT":
            self.conn.execute("COMMIT")
        else:
            self.conn.commit()


@pytest.mark.parametrize(
    "way",
    [
        "begins",
        "commits by an alias",
        "executes a script",
        "executes COMMIT",
        "writes after a script",
    ],
)
@pytest.mark.parametrize("poison", [0, 1, 3, 5])
def test_a_method_with_transactions_of_its_own_applies_each_event_once(
    path: Path, way: str, poison: int
) -> None:
    names = list("abcde")
    names.insert(poison, "poison")
    with closing(OwnWay(str(path), way)) as database:
        storage = adopt(database)
        outcome = storage.apply(joined(*names))
        assert (outcome.settled, len(outcome.rejections), outcome.obstacle) == (6, 1, None)
        assert database.logged() == list("abcde")
        assert not storage.commits_batches
        storage.apply(joined("f"))
        assert database.logged() == list("abcdef")
        storage.release()


def test_a_method_that_executes_rollback_undoes_its_own_event_alone(path: Path) -> None:
    class Undoing(OldBotDatabase):
        def user_left(self, username: str) -> None:
            self.conn.execute("ROLLBACK")
            if username == "aloud":
                raise KeyError(username)

    received = [*joined("a", "b"), *batch(UserLeft(username="aloud")), *joined("c")]
    received += [*batch(UserLeft(username="quietly")), *joined("d")]
    for part in (received, received[3:]):
        path.unlink(missing_ok=True)
        with closing(Undoing(str(path))) as database:
            storage = adopt(database)
            outcome = storage.apply(part)
            assert (outcome.settled, outcome.obstacle) == (len(part), None)
            names = [each.event.username for each in part if isinstance(each.event, UserJoined)]
            assert database.logged() == [f"joined {name}" for name in names]
            storage.release()


def test_a_method_that_begins_is_no_poison_beside_poison(path: Path) -> None:
    class Beginning(Poisoned):
        def user_left(self, username: str) -> None:
            self.conn.execute("BEGIN IMMEDIATE")
            self._log("left", username)

    received = [*joined("a", "poison"), *batch(UserLeft(username="a")), *joined("b")]
    with closing(Beginning(str(path))) as database:
        storage = adopt(database)
        outcome = storage.apply(received)
        assert [each.event for each in outcome.rejections] == [UserJoined(username="poison")]
        assert database.logged() == ["joined a", "joined poison", "left a", "joined b"]
        storage.release()


def test_a_fault_that_shows_at_the_commit_costs_its_event(path: Path) -> None:
    class Referring(OldBotDatabase):
        def __init__(self, path: str) -> None:
            super().__init__(path)
            self.conn.execute("PRAGMA foreign_keys = ON")
            self.conn.execute(
                "CREATE TABLE IF NOT EXISTS refers"
                " (log INTEGER REFERENCES log (id) DEFERRABLE INITIALLY DEFERRED)"
            )

        def user_left(self, username: str) -> None:
            self.conn.execute("INSERT INTO refers VALUES (12345)")
            self._log("left", username)

    received = [*joined("a"), *batch(UserLeft(username="a")), *joined("b")]
    with closing(Referring(str(path))) as database:
        storage = adopt(database)
        outcome = storage.apply(received)
        assert (outcome.settled, len(outcome.rejections)) == (3, 1)
        assert database.logged() == ["joined a", "joined b"]
        storage.release()


def test_a_getter_that_bears_the_name_of_many_lines_is_not_called() -> None:
    class Getting(OldBotDatabase):
        def user_chat_message(self, username: str, message: str | None = None) -> None:
            self._log(username, message)

        def user_chat_messages(self, username: str) -> list[str]:
            return [username]

    with closing(Getting(":memory:")) as database:
        adopt(database).apply(batch(MessageLog(username="alice", message="hi")))
        assert database.logged() == ["alice hi"]


def test_a_method_that_fails_after_its_own_commit_doubles_no_event(path: Path) -> None:
    with closing(OwnWay(str(path), "fails after its COMMIT")) as database:
        storage = adopt(database)
        outcome = storage.apply(joined("a", "b", "poison", "c"))
        assert (outcome.settled, len(outcome.rejections), outcome.obstacle) == (4, 1, None)
        assert database.logged() == ["a", "b", "poison", "c"]
        storage.release()


def test_one_object_does_not_serve_two_services(old: OldBotDatabase) -> None:
    storage = adopt(old)
    with pytest.raises(DatabaseInUse, match="another service of this process"):
        adopt(old)
    storage.release()
    adopt(old).release()


def test_a_connection_that_makes_anything_of_rows_is_adopted(path: Path) -> None:
    with closing(OldBotDatabase(str(path))) as old:
        old.conn.row_factory = lambda cursor, row: {
            column[0]: value for column, value in zip(cursor.description, row, strict=True)
        }
        old.conn.text_factory = bytes
        storage = adopt(old)
        assert storage.file == str(path)
        assert storage.apply(joined("alice")).settled == 1
        storage.release()


def test_a_database_with_a_hidden_connection_of_one_thread_is_no_fault_of_an_event() -> None:
    class Hidden(SpecDatabase):
        def __init__(self) -> None:
            self._hidden = sqlite3.connect(":memory:")

        def user_joined(self, username: str) -> None:
            self._hidden.execute("SELECT ?", (username,))

    database = Hidden()
    storage = adopt(database)
    with ThreadPoolExecutor(1) as another, pytest.raises(NotADatabase, match="created in a thread"):
        another.submit(storage.apply, joined("alice")).result()
    database._hidden.close()


def test_a_method_that_can_do_without_a_username_is_called_without() -> None:
    class Optional(SpecDatabase):
        def get_unsent_outbound_messages(
            self, username: str | None = None, limit: int = 10
        ) -> list[Any]:
            return [{"to": username, "limit": limit}]

    assert adopt(Optional()).answer(MessagesOutboundGet(limit=3), list) == [
        {"to": None, "limit": 3}
    ]


def test_events_that_each_commit_are_applied_some_at_a_time() -> None:
    database = SpecDatabase()
    outcome = adopt(database).apply(joined(*map(str, range(1000))))
    assert outcome.settled == len(database.calls) == SINGLY


def test_a_file_that_is_no_database_any_more_is_fatal(path: Path) -> None:
    with closing(OldBotDatabase(str(path))) as old:
        storage = adopt(old)
        path.write_bytes(b"not a database" * 1000)
        with pytest.raises(NotADatabase, match="cannot be used any more"):
            storage.apply(joined("alice"))


def test_now_is_when_the_event_was_received(path: Path) -> None:
    with closing(BotDatabase(path)) as database:
        storage = adopt(database)
        storage.apply([*joined("alice"), *batch(UserLeft(username="alice"), at=1060.9)])
        assert database.get_user_stats("alice") == {
            "username": "alice",
            "first_seen": 1000,
            "last_seen": 1060,
            "total_chat_lines": 0,
            "total_time_connected": 60,
            "current_session_start": None,
        }


def test_a_reader_does_not_see_a_batch_before_its_commit_and_does_not_wait(path: Path) -> None:
    with closing(BotDatabase(path)) as database:
        storage = adopt(database)
        assert storage.reads_apart
        storage.apply(batch(MessageLog(username="alice", message="first")))
        with locked(path) as other:
            other.execute("INSERT INTO recent_chat VALUES (9, 1, 'bob', 'second')")
            assert [row["message"] for row in storage.answer(StatsRecentChatGet(), list)] == [
                "first"
            ]
        storage.release()


@pytest.mark.parametrize("case", accepted())
def test_an_accepted_payload_makes_its_rows(path: Path, case: Case) -> None:
    with closing(BotDatabase(path)) as database:
        prepare(database, case)
        storage = adopt(database)
        payload = decode(case.operation, case.payload)
        if isinstance(payload, Event):
            assert storage.apply(batch(payload)).rejections == []
            assert [list(row) for row in select(path, case.expected["sql"])] == case.expected[
                "rows"
            ]
        else:
            rows = [untimed(row) for row in storage.answer(payload, list)]  # type: ignore[arg-type]
            assert rows == case.expected["reply"]
        storage.release()


def test_a_commit_that_fails_outside_of_a_batch_leaves_nothing_open(path: Path) -> None:
    with closing(BotDatabase(path)) as database:
        storage = adopt(database)
        database.conn.execute("PRAGMA foreign_keys = ON")
        database.conn.execute(
            "CREATE TABLE refers (log INTEGER REFERENCES api_tokens DEFERRABLE INITIALLY DEFERRED)"
        )
        with pytest.raises(sqlite3.IntegrityError), database.conn:
            database.conn.execute("INSERT INTO refers VALUES (12345)")
        assert not database.conn.in_transaction
        storage.release()


def test_a_query_that_is_not_read_to_its_end_holds_up_nobody(path: Path) -> None:
    with closing(BotDatabase(path)) as database:
        storage = adopt(database)
        database.user_chat_messages([(1000, "alice", "hi")] * 10)
        with pytest.raises(ZeroDivisionError) as held:
            storage.answer(StatsRecentChatGet(), lambda rows: 1 / 0 if next(iter(rows)) else 1)
        database.user_chat_messages([(1000, "alice", "hi")])
        assert database.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        assert held.tb, "and the exception is still there"
        storage.release()
