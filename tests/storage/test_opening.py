"""Paths and objects that become a storage, and all that can be wrong with them."""

import multiprocessing
import os
import sqlite3
import sys
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path

import pytest
from support.databases import OldBotDatabase, SpecDatabase, locked

from rosey_dbsvc import BotDatabase, Durable
from rosey_dbsvc.errors import (
    CannotOpen,
    DatabaseInUse,
    InvalidSettings,
    NotADatabase,
    NotAdoptable,
)
from rosey_dbsvc.operations.chat import StatsRecentChatGet
from rosey_dbsvc.storage.adopted import AdoptedStorage
from rosey_dbsvc.storage.cursor import Position
from rosey_dbsvc.storage.lock import writer_lock
from rosey_dbsvc.storage.opening import load_factory, opened
from rosey_dbsvc.storage.protocol import Storage
from rosey_dbsvc.storage.sqlite.storage import SqliteStorage


def hold(path: Path, ready: object, done: object) -> None:
    with writer_lock(path):
        ready.set()  # type: ignore[attr-defined]
        done.wait(30)  # type: ignore[attr-defined]


def test_a_second_writer_is_refused_with_the_first_one_s_process_id(path: Path) -> None:
    fork = multiprocessing.get_context("spawn")
    ready, done = fork.Event(), fork.Event()
    first = fork.Process(target=hold, args=(path, ready, done))
    first.start()
    assert ready.wait(30)
    with pytest.raises(DatabaseInUse, match=f"its process id is {first.pid}"), writer_lock(path):
        pass
    done.set()
    first.join()
    with writer_lock(path):
        pass


def test_a_lock_is_of_the_file_and_not_of_its_name(path: Path) -> None:
    (link := path.with_name("other.db")).symlink_to(path)
    with (
        writer_lock(path),
        pytest.raises(DatabaseInUse, match=str(os.getpid())),
        writer_lock(link),
    ):
        pass


def test_an_object_s_file_is_locked_as_well(path: Path) -> None:
    with (
        closing(OldBotDatabase(str(path))) as old,
        opened(old, BotDatabase),
        pytest.raises(DatabaseInUse),
        opened(path, BotDatabase),
    ):
        pass


def test_a_database_is_closed_by_whoever_opened_it(path: Path) -> None:
    with opened(path, OldBotDatabase) as storage:
        pass
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        storage.database.conn.execute("SELECT 1")  # type: ignore[attr-defined]
    with closing(OldBotDatabase(str(path))) as old:
        with opened(old, BotDatabase):
            pass
        assert old.logged() == []


def test_a_database_that_is_no_file_needs_no_lock() -> None:
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(opened(SpecDatabase(), BotDatabase))
            stack.enter_context(opened(":memory:", BotDatabase))


def test_a_path_need_not_be_utf_8(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.db")
    with opened(path, BotDatabase) as storage:
        assert storage.file == path
        assert storage.answer(StatsRecentChatGet(), list) == []


def test_a_factory_with_a_path_of_its_own_is_locked_there_too(path: Path) -> None:
    other = path.with_name("other.db")
    with (
        opened(path, lambda _: OldBotDatabase(str(other))),
        pytest.raises(DatabaseInUse),
        opened(other, OldBotDatabase),
    ):
        pass


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(CannotOpen, match="is a directory: name a file in it"), _open(tmp_path):
        pass


def test_a_missing_directory_is_named_and_not_made(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(CannotOpen, match=f"there is no directory {missing}"), _open(missing / "x"):
        pass
    assert not missing.exists()


def test_a_file_that_is_no_database_is_named(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(NotADatabase, match="is not a readable SQLite database"), _open(path):
        pass


def test_a_factory_s_own_error_is_one_line(path: Path) -> None:
    def failing(_: str) -> None:
        raise RuntimeError("no\nway")

    with pytest.raises(CannotOpen, match=r"RuntimeError: no\\nway"), opened(path, failing):
        pass


def test_closing_that_fails_is_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(path, BotDatabase) as storage:
        storage.database._end_sessions = lambda: 1 / 0  # type: ignore[attr-defined]
    assert "cannot close the database: ZeroDivisionError: division by zero" in caplog.messages


def _open(path: Path) -> AbstractContextManager[Storage]:
    return opened(path, BotDatabase)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing", "`database`: expected MODULE:ATTRIBUTE"),
        (":", "`database`: expected MODULE:ATTRIBUTE"),
        ("no_such_module:X", "No module named 'no_such_module'"),
        ("rosey_dbsvc:Missing", "no attribute 'Missing'"),
        ("rosey_dbsvc.operations.base:MAX_INTEGER", "is not callable"),
        ("module_that_exits:X", "SystemExit: 3"),
    ],
)
def test_a_factory_that_cannot_be_imported_is_named(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "module_that_exits.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(InvalidSettings, match=says):
        load_factory(name)


def test_a_factory_is_found_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_bot.py").write_text("class Mine:\n    Database = dict\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert load_factory("my_bot:Mine.Database")("") == {}


def test_a_locked_file_is_named_with_the_reason(path: Path) -> None:
    BotDatabase(path).close()
    with (
        locked(path),
        pytest.raises(CannotOpen, match="database is locked: another program holds a lock"),
        _open(path),
    ):
        pass


def test_a_database_that_follows_a_stream_is_not_opened_in_core_mode(path: Path) -> None:
    with opened(path, durable=Durable()) as storage:
        storage.apply([], Position(1, 1000))
    with pytest.raises(CannotOpen, match="follows the stream ROSEY_DB: use `durable`"), _open(path):
        pass
    with opened(path, durable=Durable()):
        pass


def test_an_object_that_cannot_follow_a_stream_is_refused() -> None:
    with pytest.raises(NotAdoptable, match="durable mode"), opened(SpecDatabase(), "", Durable()):
        pass


def test_the_kind_of_storage_is_that_of_the_object(path: Path) -> None:
    class Subclass(BotDatabase):
        pass

    for kind, storage in ((BotDatabase, SqliteStorage), (Subclass, AdoptedStorage)):
        with opened(path, kind) as found:
            assert type(found) is storage


def test_a_file_of_another_format_gets_no_lock_file(path: Path) -> None:
    path.write_text("root:x:0:0:root:/root:/bin/sh\n")
    with pytest.raises(NotADatabase, match="is not a readable SQLite database"), opened(path):
        pass
    assert [file.name for file in path.parent.iterdir()] == [path.name]
