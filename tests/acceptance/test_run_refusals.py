"""`rosey-dbsvc run` that cannot start: one line, the right exit code, no traceback."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.calls import ask, publish
from support.databases import locked
from support.processes import SERVING, refused_run, run, running
from support.servers import NatsServer, nats_server

from rosey_dbsvc import BotDatabase


def test_two_services_on_one_file(own_server: NatsServer, path: Path) -> None:
    arguments = ("--nats-url", own_server.url, "--db-path", path)
    with running(*arguments) as process:
        process.wait_for(SERVING)
        refused_run(2, f"another service uses {path}: .* process id is {process.pid}$", *arguments)
        publish(own_server.url, 1)
        assert ask(own_server.url) == ["0"]
        assert process.stop() == 0


@pytest.mark.parametrize(
    "url",
    ["nats://", "nats://localhost:port", "nats://h:99999", "://", "nats://bot:a#b@localhost"]
    + [f"nats://{user}sEcReT@localhost:4222" for user in ("bot:12/", "token/", "bot:7?")],
)
def test_a_url_that_is_none(path: Path, url: str) -> None:
    says = "--nats-url: expected URLs like nats://host:4222"
    refused_run(2, says, "--nats-url", url, "--db-path", path)
    assert "sEcReT" not in run("run", "--nats-url", url, "--db-path", path).stderr


@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_a_url_of_another_kind(path: Path, scheme: str) -> None:
    says = f"--nats-url: expected nats:// or tls:// URLs, not {scheme}://"
    refused_run(2, says, "--nats-url", f"{scheme}://localhost:4222", "--db-path", path)


def test_no_path() -> None:
    refused_run(2, "--db-path: expected the path of a file", "--db-path", "")


def test_a_name_that_no_file_can_have(path: Path) -> None:
    refused_run(2, "cannot write .*File name too long", "--db-path", path.with_name("x" * 300))


def test_a_path_in_a_directory_that_is_not_there(path: Path) -> None:
    refused_run(2, "there is no directory", "--db-path", path.parent / "missing" / "bot.db")


def test_a_directory_for_a_file(path: Path) -> None:
    refused_run(2, "is a directory: name a file in it", "--db-path", path.parent)


def test_a_disk_that_cannot_be_written() -> None:
    refused_run(2, "cannot write /proc/bot.db.lock", "--db-path", "/proc/bot.db")


def test_a_corrupt_file(path: Path, own_server: NatsServer) -> None:
    path.write_bytes(b"this is no database, it only looks like one" * 100)
    url = own_server.url
    refused_run(1, "is not a readable SQLite database", "--db-path", path, "--nats-url", url)


def test_a_file_of_another_program(path: Path, own_server: NatsServer) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE VIEW user_stats AS SELECT 1")
        conn.execute("CREATE TABLE recent_chat (x)")
        conn.commit()
    url = own_server.url
    refused_run(2, f"cannot open {path}: no such column", "--db-path", path, "--nats-url", url)


def test_a_locked_file(path: Path, own_server: NatsServer) -> None:
    BotDatabase(path).close()
    with locked(path):
        says = "database is locked: another program holds a lock"
        refused_run(2, says, "--db-path", path, "--nats-url", own_server.url)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing_module:X", "--database: cannot import missing_module:X: .*No module named"),
        ("rosey_dbsvc:Nothing", "--database: cannot import rosey_dbsvc:Nothing"),
        ("nonsense", "--database: expected MODULE:ATTRIBUTE"),
        ("builtins:int", "cannot open .*ValueError: invalid literal"),
        ("builtins:str", "str cannot be adopted for user.joined: it needs a method user_joined"),
    ],
)
def test_a_database_of_your_own_that_is_none(path: Path, name: str, says: str) -> None:
    refused_run(2, says, "--database", name, "--db-path", path, "--nats-url", "nats://127.0.0.1:1")


def test_credentials_that_are_wrong(path: Path, tmp_path: Path) -> None:
    config = tmp_path / "nats.conf"
    config.write_text("authorization { user: bot, password: right }")
    with nats_server(config=config) as server:
        url = server.url.replace("//", "//bot:wrong@")
        result = run("run", "--db-path", path, "--nats-url", url, "--log-level", "debug")
        assert result.returncode == 2
        last = result.stderr.splitlines()[-1]
        assert "the server refuses the connection: Authorization Violation" in last
        assert "wrong" not in result.stderr
        assert "Traceback" not in result.stderr
