"""`rosey-dbsvc maintain`, with and beside a service."""

import os
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import anyio
import nats
import pytest
from support.bots import Bot
from support.databases import locked, select
from support.flood import flooding
from support.log import numbers
from support.processes import SERVING, run, running
from support.servers import NatsServer

from rosey_dbsvc import BotDatabase
from rosey_dbsvc.errors import MaintenanceFailed
from rosey_dbsvc.storage.admin import maintain as maintaining
from rosey_dbsvc.storage.admin.maintain import maintain

DAY = 86400
OLD = 20_000
HISTORY = "INSERT INTO user_count_history (timestamp, chat_users, connected_users) VALUES (?, 1, 1)"
LEFT = "SELECT count(*) FROM user_count_history"
ANALYZED = "SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_stat1'"
CLEANED = f"Cleaned {OLD} old history records"


@pytest.fixture
def filled(path: Path) -> Path:
    BotDatabase(path).close()
    now = time.time()
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.executemany(HISTORY, [(now - 31 * DAY,)] * OLD + [(now,)])
    return path


async def join(url: str) -> None:
    bot = Bot(await nats.connect(url), "rosey.db")
    await bot.publish("user.joined", username="alice")
    await bot.committed()
    await bot.nc.close()


def test_what_is_old_goes_and_the_file_becomes_small(filled: Path) -> None:
    before = filled.stat().st_size
    done = run("maintain", "--db-path", filled)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [CLEANED, "VACUUM completed", "ANALYZE completed"]
    assert filled.stat().st_size < before / 2
    assert select(filled, LEFT) == select(filled, ANALYZED) == [(1,)]
    again = run("maintain", "--db-path", filled, "--no-vacuum")
    assert again.stdout == "nothing to delete\n"


def test_beside_a_service_nobody_is_kept_from_writing(own_server: NatsServer, filled: Path) -> None:
    arguments = ("--nats-url", own_server.url, "--db-path", filled, "--maintain-every", "0")
    with running(*arguments) as process:
        process.wait_for(SERVING)
        done = run("maintain", "--db-path", filled)
        anyio.run(join, own_server.url)
        assert process.stop() == 0
    assert done.returncode == 0
    cleaned, left_out = done.stdout.splitlines()
    assert cleaned == CLEANED
    assert left_out.startswith(f"VACUUM and ANALYZE skipped, because a service uses {filled}: ")
    assert select(filled, LEFT) == [(1,)]
    assert select(filled, ANALYZED) == [(0,)]
    assert "WARNING" not in process.said


def test_insisted_on_it_tidies_up_beside_a_service_which_loses_nothing(
    own_server: NatsServer, filled: Path
) -> None:
    with running("--nats-url", own_server.url, "--db-path", filled) as process:
        process.wait_for(SERVING)
        with flooding(own_server.url, "rosey.db") as flood:
            done = run("maintain", "--db-path", filled, "--vacuum")
            count = flood.end()
        assert process.stop() == 0
    assert done.stdout.splitlines()[-2:] == ["VACUUM completed", "ANALYZE completed"]
    assert numbers(filled) == [*range(count)]


def test_a_service_cannot_start_while_the_file_is_tidied_up(
    own_server: NatsServer, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []

    def start(_conn: sqlite3.Connection, _sql: str) -> None:
        refused.append(run("run", "--db-path", filled, "--nats-url", own_server.url).stderr)

    monkeypatch.setattr(maintaining, "execute", start)
    maintain(str(filled), lambda _done, _total: None, vacuum=True)
    assert re.search("another service uses .*: stop it first", refused[0])


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files away")
def test_what_root_leaves_behind_is_the_database_s_owner_s(filled: Path) -> None:
    os.chown(filled, 12_345, 12_346)
    assert run("maintain", "--db-path", filled).returncode == 0
    for file in filled.parent.iterdir():
        assert (file.stat().st_uid, file.stat().st_gid) == (12_345, 12_346), file


def test_a_file_that_is_locked_for_long_is_one_line(filled: Path) -> None:
    with locked(filled), pytest.raises(MaintenanceFailed, match="failed: database is locked"):
        maintain(str(filled), lambda _done, _total: None, vacuum=None, busy_timeout=0.05)


def test_how_far_it_is_is_reported(filled: Path) -> None:
    reported: list[tuple[int, int]] = []
    maintain(str(filled), lambda *report: reported.append(report), vacuum=False)
    assert reported[-1] == (OLD + 1, OLD + 1)
    assert reported == sorted(reported)


def refuses(code: int, says: str, path: Path) -> None:
    refused = run("maintain", "--db-path", path)
    assert refused.returncode == code
    (line,) = refused.stderr.splitlines()
    assert line == f"rosey-dbsvc: {says}"


def test_a_database_that_is_not_there(path: Path) -> None:
    refuses(2, f"{path} does not exist: name an existing database", path)
    assert not path.exists()


def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_text("hello")
    refuses(1, f"{path} is not a readable SQLite database: file is not a database", path)
    assert [*path.parent.iterdir()] == [path]


def test_a_database_of_something_else(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE t (x)")
    says = f"the maintenance of {path} failed: no such table: user_count_history"
    refuses(1, says, path)
