"""`rosey-dbsvc backup`, and the restore of its copies."""

import os
import pty
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from queue import Queue

import anyio
import nats
import pytest
from anyio import to_thread
from nats.aio.client import Client
from support.databases import lock_elsewhere, select
from support.flood import flooding
from support.log import numbers
from support.processes import COMMAND, ENVIRONMENT, SERVING, run, running
from support.servers import NatsServer, nats_server

from rosey_dbsvc import BotDatabase, DatabaseService
from rosey_dbsvc.errors import BackupFailed
from rosey_dbsvc.storage.admin import backup
from rosey_dbsvc.storage.admin.backup import back_up
from rosey_dbsvc.storage.admin.interruptible import exit_on_signals
from rosey_dbsvc.storage.connect import HEADER, open_existing

ServiceOf = Callable[..., DatabaseService]

LINES = 2000


@pytest.fixture
def filled(path: Path) -> Path:
    with closing(BotDatabase(path)) as database:
        now = 1_800_000_000
        database.user_chat_messages([(now, "alice", str(n)) for n in range(LINES)])
    return path


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "backups" / "copy.db"


@pytest.fixture(autouse=True)
def _folder(copy: Path) -> None:
    copy.parent.mkdir()


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Python's own handling of SIGINT, also if it is ignored here, as under nohup."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def stream_server(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server("-js", "-sd", str(tmp_path / "jetstream")) as server:
        yield server


def test_a_copy_is_whole_readable_by_its_owner_only_and_alone(filled: Path, copy: Path) -> None:
    done = run("backup", copy, "--db-path", filled)
    size = copy.stat().st_size
    said = f"{filled} is backed up to {copy}: {size:,} bytes, checked\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    assert numbers(copy) == [*range(LINES)]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert {file.name for file in filled.parent.iterdir()} == {filled.name, copy.parent.name}


def test_an_older_backup_is_replaced(filled: Path, copy: Path) -> None:
    BotDatabase(copy).close()
    assert run("backup", copy, "--db-path", filled).returncode == 0
    assert numbers(copy) == [*range(LINES)]
    assert [*copy.parent.iterdir()] == [copy]


async def test_it_comes_to_an_end_and_is_of_one_moment_while_a_service_commits(
    filled: Path,
    copy: Path,
    nc: Client,
    prefix: str,
    service_of: ServiceOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backup, "PAGES_PER_STEP", 4)
    asked: Queue[None] = Queue()
    committed: Queue[None] = Queue()

    reported: list[tuple[int, int]] = []

    def report(done: int, total: int) -> None:
        reported.append((done, total))
        asked.put(None)
        committed.get(timeout=10)

    async def commit_between_steps(service: DatabaseService) -> None:
        for number in range(10**6):
            await to_thread.run_sync(asked.get, abandon_on_cancel=True)
            payload = b'{"username": "alice", "message": "%d"}' % (LINES + number)
            await nc.publish(f"{prefix}.message.log", payload)
            while service.counts.applied <= number:
                await anyio.sleep(0.001)
            committed.put(None)

    async with service_of(filled) as service, anyio.create_task_group() as tasks:
        tasks.start_soon(commit_between_steps, service)
        with anyio.fail_after(60):
            await to_thread.run_sync(back_up, str(filled), str(copy), report)
        tasks.cancel_scope.cancel()
        asked.put(None)
    assert service.counts.applied > 5
    assert reported == sorted(reported)
    assert reported[-1] == (reported[0][1], reported[0][1])
    assert await to_thread.run_sync(numbers, copy) == [*range(LINES)]
    assert len(await to_thread.run_sync(numbers, filled)) == LINES + service.counts.applied


def test_restored_it_reads_on_from_the_stream_and_nothing_is_lost_or_doubled(
    stream_server: NatsServer, path: Path, copy: Path
) -> None:
    arguments = ("--nats-url", stream_server.url, "--db-path", path, "--durable")
    with running(*arguments) as process:
        process.wait_for(SERVING)
        with flooding(stream_server.url, "rosey.db") as flood:
            for _ in range(3):
                assert run("backup", copy, "--db-path", path).returncode == 0
            count = flood.end()
        process.kill()
    for beside in ("", "-wal", "-shm"):
        Path(f"{path}{beside}").unlink(missing_ok=True)
    shutil.copy(copy, path)
    with running(*arguments) as process:
        process.wait_for(SERVING)
        assert process.stop() == 0
    assert numbers(path) == [*range(count)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.usefixtures("ctrl_c")
def test_broken_off_it_leaves_the_older_backup_and_nothing_else(
    filled: Path, copy: Path, number: signal.Signals
) -> None:
    copy.write_bytes(HEADER)

    def report(_done: int, _total: int) -> None:
        os.kill(os.getpid(), number)

    with pytest.raises((SystemExit, KeyboardInterrupt)), exit_on_signals():
        back_up(str(filled), str(copy), report)
    assert copy.read_bytes() == HEADER
    assert [*copy.parent.iterdir()] == [copy]


def test_a_damaged_database_makes_no_backup_and_takes_none_away(filled: Path, copy: Path) -> None:
    copy.write_bytes(HEADER)
    (root,) = select(filled, "SELECT rootpage FROM sqlite_master WHERE name = 'recent_chat'")[0]
    with filled.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)
    failed = run("backup", copy, "--db-path", filled)
    assert failed.returncode == 1
    (line,) = failed.stderr.splitlines()
    assert line.startswith("rosey-dbsvc: the database is damaged, so it was not backed up: ")
    assert copy.read_bytes() == HEADER
    assert [*copy.parent.iterdir()] == [copy]


def test_a_full_disk_is_one_line_and_leaves_nothing(filled: Path, copy: Path) -> None:
    limit = filled.stat().st_size - 4096
    failed = run(
        *("backup", copy, "--db-path", filled),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert failed.returncode == 1
    (line,) = failed.stderr.splitlines()
    assert line.startswith(f"rosey-dbsvc: the backup of {filled} failed: OperationalError: ")
    assert [*copy.parent.iterdir()] == []


def test_a_database_in_rollback_mode_that_is_locked_is_one_line(
    path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("CREATE TABLE t (x)")
        conn.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(open_existing, "__defaults__", (0.1,))
        with pytest.raises(Exception, match="database is locked: another program holds a lock"):
            back_up(str(path), str(copy), lambda _done, _total: None)
    assert [*copy.parent.iterdir()] == []


def test_a_database_that_is_being_written_elsewhere_is_copied(filled: Path, copy: Path) -> None:
    writer = lock_elsewhere(filled)
    try:
        assert run("backup", copy, "--db-path", filled).returncode == 0
    finally:
        writer.communicate()
    assert numbers(copy) == [*range(LINES)]


def refuses(says: str, *arguments: object, code: int = 2) -> None:
    refused = run("backup", *arguments)
    assert refused.returncode == code
    (line,) = refused.stderr.splitlines()
    assert line == f"rosey-dbsvc: {says}"


def test_a_database_that_is_not_there(path: Path, copy: Path) -> None:
    refuses(f"{path} does not exist: name an existing database", copy, "--db-path", path)
    assert [*copy.parent.iterdir()] == []


def test_a_file_that_is_no_database(path: Path, copy: Path) -> None:
    path.write_text("hello")
    says = f"{path} is not a readable SQLite database: file is not a database"
    refuses(says, copy, "--db-path", path, code=1)
    assert [*copy.parent.iterdir()] == []


def test_the_database_itself_under_another_name(filled: Path, copy: Path) -> None:
    copy.symlink_to(filled)
    refuses(f"{copy} is the database itself: name another file", copy, "--db-path", filled)
    assert numbers(filled) == [*range(LINES)]


def test_a_file_of_another_kind(filled: Path, copy: Path) -> None:
    copy.write_text("a letter")
    refuses(f"{copy} exists and is not a database: name another file", copy, "--db-path", filled)
    assert copy.read_text() == "a letter"


@pytest.mark.parametrize("beside", ["-wal", "-journal", ".lock"])
def test_a_file_that_somebody_uses(filled: Path, copy: Path, beside: str) -> None:
    other = Path(f"{copy}{beside}")
    other.touch()
    says = f"{other} belongs to a database in use: name another file"
    refuses(says, copy, "--db-path", filled)


@pytest.mark.parametrize("beside", ["-wal", "-journal", ".lock"])
def test_a_file_that_is_the_database_s_own(filled: Path, beside: str) -> None:
    own = f"{filled}{beside}"
    refused = run("backup", own, "--db-path", filled)
    assert refused.returncode == 2
    assert "belongs to a database in use: name another file" in refused.stderr


def test_what_is_no_file(filled: Path, copy: Path) -> None:
    os.mkfifo(copy)
    refuses(f"{copy} is not a regular file: name another", copy, "--db-path", filled)
    assert stat.S_ISFIFO(copy.stat().st_mode)
    device = copy.with_name("device")
    device.symlink_to("/dev/null")
    refuses(f"{device} is not a regular file: name another", device, "--db-path", filled)


def test_a_link_is_followed(filled: Path, copy: Path) -> None:
    link = copy.with_name("latest.db")
    link.symlink_to(copy)
    assert run("backup", link, "--db-path", filled).returncode == 0
    assert link.is_symlink()
    assert numbers(copy) == [*range(LINES)]


def test_a_name_that_is_too_long(filled: Path, copy: Path) -> None:
    for name in ("x" * 250, "x" * 300):
        file = copy.with_name(name)
        refuses(f"cannot write {file}: File name too long", file, "--db-path", filled)
    database = f"{filled}{'x' * 300}"
    refuses(f"cannot open {database}: File name too long", copy, "--db-path", database)


def test_a_folder(filled: Path, copy: Path) -> None:
    refuses(f"{copy.parent} is a directory: name a file in it", copy.parent, "--db-path", filled)
    nowhere = copy.parent / "nowhere"
    says = f"cannot create x.db: there is no directory {nowhere}"
    refuses(says, nowhere / "x.db", "--db-path", filled)


def test_on_a_terminal_it_draws_a_bar(filled: Path, copy: Path) -> None:
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "backup", str(copy), "--db-path", str(filled)],
        stdout=subprocess.DEVNULL,
        stderr=inside,
        env=ENVIRONMENT | {"TERM": "xterm"},
    )
    os.close(inside)
    seen = b""
    try:
        while part := os.read(terminal, 4096):
            seen += part
    except OSError:  # closed at the other end
        pass
    os.close(terminal)
    assert process.wait(timeout=10) == 0
    assert b"backing up" in seen
    assert "━".encode() in seen


def test_a_check_that_fails_is_a_failed_backup(
    filled: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "execute", lambda _conn, _sql: [("row 1 missing from index",)])
    with pytest.raises(BackupFailed, match="row 1 missing"):
        back_up(str(filled), str(copy), lambda _done, _total: None)
    assert [*copy.parent.iterdir()] == []


def test_the_client_of_a_bot_sees_nothing_of_it(
    stream_server: NatsServer, path: Path, copy: Path
) -> None:
    async def ask() -> bytes:
        nc = await nats.connect(stream_server.url)
        reply = await nc.request("rosey.db.stats.recent_chat.get", b"{}", timeout=5)
        await nc.close()
        return reply.data

    with running("--nats-url", stream_server.url, "--db-path", path) as process:
        process.wait_for(SERVING)
        assert run("backup", copy, "--db-path", path).returncode == 0
        assert anyio.run(ask) == b"[]"
        assert process.stop() == 0
    assert "WARNING" not in process.said
