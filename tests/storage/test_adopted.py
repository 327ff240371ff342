"""Storage over any object with the methods of a BotDatabase: what it does beyond the protocol."""

import errno
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from storage.backends import OwnBotDatabase, batch, joined, numbered
from support.databases import OldBotDatabase, SpecDatabase, select

from rosey_dbsvc import BotDatabase, adopt
from rosey_dbsvc.errors import NotADatabase, NotAdoptable, NotSupported
from rosey_dbsvc.operations.base import Event, Operation, Query
from rosey_dbsvc.operations.channel import StatsHighWater, StatsUserCount, StatusUpdate
from rosey_dbsvc.operations.chat import MessageLog, StatsRecentChatGet
from rosey_dbsvc.operations.outbound import MessagesOutboundGet, MessagesOutboundMarkSent
from rosey_dbsvc.operations.users import UserJoined, UserLeft
from rosey_dbsvc.storage.adopted_methods import METHODS, REQUIRED, Method, calls
from rosey_dbsvc.storage.base import MAX_SINGLE
from rosey_dbsvc.storage.cursor import BEGINNING, Position

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


@pytest.fixture
def old(path: Path) -> Iterator[OldBotDatabase]:
    with closing(OldBotDatabase(str(path))) as database:
        yield database


# Methods


def test_the_methods_of_v0_5_0_are_called(old: OldBotDatabase) -> None:
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


def test_a_method_gets_the_parameters_of_a_query_that_it_has(old: OldBotDatabase) -> None:
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


def test_a_method_that_can_do_without_a_username_is_called_without() -> None:
    class Optional(SpecDatabase):
        def get_unsent_outbound_messages(
            self, username: str | None = None, limit: int = 10
        ) -> list[Any]:
            return [{"to": username, "limit": limit}]

    assert adopt(Optional()).answer(MessagesOutboundGet(limit=3), list) == [
        {"to": None, "limit": 3}
    ]


def test_the_methods_of_a_subclass_of_ours_are_called(path: Path) -> None:
    class Shouting(BotDatabase):
        def user_chat_message(self, username: str, message: str | None = None) -> None:
            super().user_chat_message(username, (message or "").upper())

        def get_recent_chat(self, limit: int = 20) -> list[dict[str, Any]]:
            return [{"limit": limit}]

    received = batch(*(MessageLog(username="alice", message=f"m{n}") for n in range(3)))
    with closing(Shouting(path)) as database:
        storage = adopt(database)
        storage.apply(received)
        said = [row["message"] for row in BotDatabase.get_recent_chat(database)]
        assert said == ["M0", "M1", "M2"]
        assert storage.readers == 0
        assert storage.answer(StatsRecentChatGet(limit=7), list) == [{"limit": 7}]
        storage.release()


def test_a_database_that_takes_a_clock_gets_the_time_of_each_event(path: Path) -> None:
    with closing(OwnBotDatabase(path)) as database:
        storage = adopt(database)
        storage.apply([*joined("alice"), *batch(UserLeft(username="alice"), at=1060.9)])
        storage.release()
    sql = "SELECT first_seen, last_seen, total_time_connected FROM user_stats"
    assert select(path, sql) == [(1000, 1060, 60)]


def test_the_retention_is_its_owner_s_unless_it_is_a_subclass_of_ours(
    path: Path, old: OldBotDatabase
) -> None:
    assert adopt(old).retention(0) is None
    with closing(OwnBotDatabase(path.with_name("own.db"))) as database:
        storage = adopt(database)
        database.log_user_count(1, 1)
        retention = storage.retention(time.time() + 31 * 86_400)
        assert retention is not None
        while retention.step():
            pass
        assert retention.done == ["Cleaned 1 old history records"]
        storage.release()


# What it must have


@pytest.mark.parametrize("operation", REQUIRED)
def test_each_required_method_that_is_missing_is_named(operation: type[Event]) -> None:
    names = METHODS[operation].names
    lacking = type("Lacking", (SpecDatabase,), dict.fromkeys(names))()
    with pytest.raises(NotAdoptable) as caught:
        adopt(lacking)
    assert str(caught.value) == (
        f"Lacking cannot be adopted for {operation.name}: it needs a method {' or '.join(names)}"
    )


class KvSet(Event, frozen=True, gc=False):
    """An operation that is not of the specification."""

    name = "kv.set"


class KvGet(Query, frozen=True, gc=False):
    """A query that is not of the specification."""

    name = "kv.get"
    row = dict


FURTHER: dict[type[Operation], Method] = {
    KvSet: Method(("kv_set",), lambda method, _: method()),
    KvGet: Method(("kv_get",), lambda method, _: method()),
}


def test_a_further_operation_that_it_lacks_is_not_supported_and_it_is_adopted_all_the_same(
    old: OldBotDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    for operation, method in FURTHER.items():
        monkeypatch.setitem(METHODS, operation, method)
    storage = adopt(old)
    with pytest.raises(NotSupported, match=r"OldBotDatabase has no method for kv\.get") as refused:
        storage.answer(KvGet(), list)
    assert refused.value.code == 501
    outcome = storage.apply([*joined("a"), *batch(KvSet()), *joined("b")])
    assert [str(each.reason) for each in outcome.rejections] == [
        "OldBotDatabase has no method for kv.set"
    ]
    assert old.logged() == ["joined a", "joined b"]


def test_a_further_operation_that_it_has_is_called() -> None:
    class More(SpecDatabase):
        def kv_get(self) -> list[str]:
            return ["value"]

    found = calls(More(), METHODS | FURTHER)
    assert found[KvGet](KvGet()) == ["value"]
    assert KvSet not in found


def test_a_connection_of_one_thread_is_refused_with_the_fix(path: Path) -> None:
    with (
        closing(OldBotDatabase(str(path), check_same_thread=True)) as old,
        pytest.raises(NotAdoptable, match="check_same_thread=False"),
    ):
        adopt(old)


def test_a_hidden_connection_of_one_thread_is_no_fault_of_an_event() -> None:
    class Hidden(SpecDatabase):
        def __init__(self) -> None:
            self._hidden = sqlite3.connect(":memory:")

        def user_joined(self, username: str) -> None:
            self._hidden.execute("SELECT ?", (username,))

    database = Hidden()
    storage = adopt(database)
    with ThreadPoolExecutor(1) as another, pytest.raises(NotADatabase, match="created in a thread"):
        another.submit(storage.apply, joined("alice")).result().raise_if_fatal()
    database._hidden.close()


# The connection


def test_the_host_s_own_calls_between_batches_are_committed(
    path: Path, old: OldBotDatabase
) -> None:
    storage = adopt(old)
    old.user_joined("host")
    old.conn.execute("INSERT INTO log (what) VALUES ('left open')")
    storage.apply(joined("alice"))
    assert storage.commits_batches
    assert select(path, "SELECT what FROM log ORDER BY id") == [
        ("joined host",),
        ("left open",),
        ("joined alice",),
    ]


def test_the_proxy_is_the_connection_in_all_else(old: OldBotDatabase) -> None:
    conn = old.conn
    storage = adopt(old)
    assert old.conn is not conn
    old.conn.row_factory = None
    assert conn.row_factory is None
    with pytest.raises(ZeroDivisionError), old.conn:
        old.conn.execute("INSERT INTO log (what) VALUES ('undone')")
        assert 1 / 0
    with old.conn:
        old.conn.execute("INSERT INTO log (what) VALUES ('done')")
    assert not conn.in_transaction
    assert old.logged() == ["done"]
    storage.release()


def test_a_commit_that_fails_outside_of_a_batch_leaves_nothing_open(path: Path) -> None:
    with closing(OwnBotDatabase(path)) as database:
        storage = adopt(database)
        database.conn.execute("PRAGMA foreign_keys = ON")
        database.conn.execute(
            "CREATE TABLE refers (log INTEGER REFERENCES api_tokens DEFERRABLE INITIALLY DEFERRED)"
        )
        with pytest.raises(sqlite3.IntegrityError), database.conn:
            database.conn.execute("INSERT INTO refers VALUES (12345)")
        assert not database.conn.in_transaction
        storage.release()


def test_a_connection_that_makes_anything_of_rows_is_adopted(
    path: Path, old: OldBotDatabase
) -> None:
    old.conn.row_factory = lambda cursor, row: {
        column[0]: value for column, value in zip(cursor.description, row, strict=True)
    }
    old.conn.text_factory = bytes
    storage = adopt(old)
    assert storage.file == str(path)
    assert storage.apply(joined("alice")).settled == 1
    storage.release()


def test_a_connection_that_makes_bytes_of_text_follows_a_stream(old: OldBotDatabase) -> None:
    old.conn.text_factory = bytes
    storage = adopt(old)
    storage.follow("ROSEY_DB")
    assert storage.apply(joined("alice"), Position(1, 1000)).settled == 1
    assert storage.followed_stream == "ROSEY_DB"
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
        outcome = adopt(database).apply(received)
        assert (outcome.settled, len(outcome.rejections)) == (3, 1)
        assert database.logged() == ["joined a", "joined b"]


@contextmanager
def read_by_another(path: Path) -> Iterator[None]:
    """Hold a read lock: a writer without WAL waits for it at its commit."""
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM log").fetchall()
        yield


def test_a_commit_that_waits_for_a_reader_is_an_obstacle(path: Path, old: OldBotDatabase) -> None:
    storage = adopt(old)
    storage.follow("ROSEY_DB")
    with read_by_another(path):
        outcome = storage.apply(numbered(1, 4), Position(2, 2000))
        assert (outcome.settled, outcome.rejections) == (0, [])
        assert "locked" in str(outcome.obstacle)
    assert storage.apply(numbered(1, 4), Position(2, 2000)).settled == 2
    assert select(path, "SELECT sequence FROM rosey_dbsvc_cursor") == [(2,)]
    assert len(old.logged()) == 2


def test_the_position_is_not_ahead_of_a_commit_that_failed(path: Path, old: OldBotDatabase) -> None:
    storage = adopt(old)
    storage.follow("ROSEY_DB")
    with read_by_another(path):
        assert storage.apply(numbered(1, 4), Position(2, 2000)).settled == 0
    assert storage.cursor is not None
    assert storage.cursor.position == BEGINNING


def test_a_full_disk_that_a_method_hides_is_noticed(path: Path) -> None:
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
        assert "full" in str(outcome.obstacle)
        database.conn.execute("PRAGMA max_page_count = 1000000")
        assert storage.apply(received).settled == 300
        assert select(path, "SELECT count(*) FROM user_stats") == [(300,)]
        storage.release()


# Each event by itself: no connection in `conn`, or none to defer commits on


def test_an_object_without_a_connection_cannot_follow_a_stream() -> None:
    storage = adopt(SpecDatabase())
    assert (storage.name, storage.file, storage.followed_stream) == ("SpecDatabase", "", "")
    assert not storage.commits_batches
    with pytest.raises(NotAdoptable, match="SpecDatabase has no SQLite connection in `conn`"):
        storage.follow("ROSEY_DB")
    storage.release()


class Property(OldBotDatabase):
    """Has its connection in a property."""

    def __init__(self, path: str) -> None:
        self._conn = sqlite3.connect(path, check_same_thread=False)
        self._conn.execute("CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, what TEXT)")

    @property
    def conn(self) -> sqlite3.Connection:
        return self._conn


@pytest.mark.parametrize(
    "make", [Property, lambda path: OldBotDatabase(path, isolation_level=None)]
)
def test_a_connection_that_cannot_be_replaced_is_left_alone(path: Path, make: Any) -> None:
    with closing(make(str(path))) as database:
        conn = database.conn
        storage = adopt(database)
        assert database.conn is conn
        assert not storage.commits_batches
        storage.follow("ROSEY_DB")
        assert storage.apply(joined("alice", "bob"), Position(3, 3000)).settled == 2
        storage.release()
        assert database.conn is conn
        assert connect_timeout(conn) == 5000
    assert select(path, "SELECT what FROM log") == [("joined alice",), ("joined bob",)]
    assert select(path, "SELECT sequence FROM rosey_dbsvc_cursor") == [(3,)]


def connect_timeout(conn: sqlite3.Connection) -> int:
    return int(conn.execute("SELECT timeout FROM pragma_busy_timeout").fetchone()[0])


def test_a_poison_event_costs_itself_alone() -> None:
    class PoisonedSpec(SpecDatabase):
        def user_joined(self, username: str) -> None:
            if username == "poison":
                raise ValueError(username)
            super().user_joined(username)

    database = PoisonedSpec()
    outcome = adopt(database).apply(joined("alice", "poison", "bob"))
    assert (outcome.settled, len(outcome.rejections)) == (3, 1)
    assert database.calls == [("joined", "alice"), ("joined", "bob")]


def test_an_obstacle_keeps_what_is_settled() -> None:
    class Full(SpecDatabase):
        def user_joined(self, username: str) -> None:
            if len(self.calls) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            super().user_joined(username)

    outcome = adopt(Full()).apply(joined("alice", "bob", "carol"))
    assert (outcome.settled, outcome.rejections) == (2, [])
    assert isinstance(outcome.obstacle, OSError)


def test_some_events_are_applied_at_a_time() -> None:
    database = SpecDatabase()
    outcome = adopt(database).apply(joined(*map(str, range(1000))))
    assert outcome.settled == len(database.calls) == MAX_SINGLE
