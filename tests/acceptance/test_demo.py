"""`rosey-dbsvc demo`, as somebody sees it who is new."""

import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from support.databases import lock_elsewhere, locked, select
from support.processes import COMMAND, ENVIRONMENT, SERVING, Running, run, running
from support.servers import NatsServer, free_port
from support.terminal import LINES, on_a_terminal

from rosey_dbsvc import BotDatabase

ENDED = (
    r"(\d+) s: ([\d,]+) events told, ([\d,]+) of them lines of chat; ([\d,]+) questions answered "
    r"within [\d.]+ ms, half of the last within [\d.]+ ms\r?\n"
)
HERE = "SELECT username FROM user_stats WHERE current_session_start IS NOT NULL"
UNSENT = "SELECT id FROM outbound_messages WHERE sent = 0"


@pytest.fixture
def service(own_server: NatsServer, path: Path) -> Iterator[Running]:
    with running("--nats-url", own_server.url, "--db-path", path) as process:
        process.wait_for(SERVING)
        yield process


def beside(server: NatsServer) -> tuple[str, ...]:
    """The demo of the service on that server."""
    return "demo", "--running", "--nats-url", server.url


def numbers(said: str) -> list[int]:
    found = re.search(ENDED, said)
    assert found is not None, said
    return [int(each.replace(",", "")) for each in found.groups()]


def test_it_shows_a_channel_beside_a_service_of_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    env = ENVIRONMENT | {"TMPDIR": str(tmp_path)}
    done = run("demo", "--seconds", 3, "--rate", 600, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(
        title in done.stdout
        for title in ("who is here: ", "chat, as", "how many were here", "outbound queue: ")
    )
    seconds, told, lines, asked = numbers(done.stdout)
    assert seconds >= 3
    assert told > lines > 5
    assert asked > 4
    assert done.stdout.endswith(f"the database had each of the {lines} lines\n")
    assert "Ctrl-C" not in done.stdout
    assert re.search(r"│ ✓ \w+", done.stdout)
    assert re.search(r"┤.*█", done.stdout)
    assert [*tmp_path.iterdir()] == []


def test_ctrl_c_ends_it_and_its_server_and_gives_the_terminal_back() -> None:
    with on_a_terminal("demo") as terminal:
        terminal.wait_for("Ctrl-C ends it")
        terminal.wait_for("✓")
        servers = psutil.Process(terminal.pid).children(recursive=True)
        assert any("nats-server" in each.name() for each in servers)
        assert terminal.stop(signal.SIGINT) == 0
    assert numbers(terminal.said)
    assert terminal.said.count("\x1b[?25h") == terminal.said.count("\x1b[?25l") == 1
    assert not any(each.is_running() for each in servers)


def test_it_stays_within_a_terminal_of_24_lines() -> None:
    with on_a_terminal("demo", "--seconds", "1") as terminal:
        assert terminal.wait() == 0
    _, *frames, _ = terminal.said.split("a simulated channel")
    assert len(frames) > 3
    assert max(frame.count("\r\n") for frame in frames) < LINES
    assert all("Ctrl-C ends it" in frame for frame in frames)  # or it was cut off


def test_beside_a_service_that_runs_all_of_it_is_in_its_database(
    own_server: NatsServer, service: Running, path: Path
) -> None:
    database = BotDatabase(path)
    others = database.enqueue_outbound_message("of another program")
    database.conn.close()  # its own close() would end sessions
    done = run(
        *beside(own_server),
        *("--db-path", path, "--seconds", 3, "--rate", 600),
    )
    assert (done.returncode, done.stderr) == (0, "")
    _, _, lines, _ = numbers(done.stdout)
    assert service.stop() == 0
    ((said,),) = select(path, "SELECT sum(total_chat_lines) FROM user_stats")
    assert said == lines
    assert select(path, "SELECT username FROM user_stats WHERE username NOT LIKE 'demo-%'") == []
    assert len(select(path, "SELECT * FROM user_count_history")) >= 2
    queue = select(path, "SELECT id, sent FROM outbound_messages")
    assert (others, 0) in queue
    assert len(queue) > 1
    assert all(sent for number, sent in queue if number != others)


def test_those_who_are_made_up_leave_when_it_ends(
    own_server: NatsServer, service: Running, path: Path
) -> None:
    assert run(*beside(own_server), "--seconds", 1).returncode == 0
    assert len(select(path, "SELECT * FROM user_stats")) > 4
    assert select(path, HERE) == []
    assert service.stop() == 0


def test_without_the_file_it_shows_what_was_told(own_server: NatsServer, service: Running) -> None:
    done = run(*beside(own_server), "--seconds", 2)
    assert done.returncode == 0
    assert "as told" in done.stdout
    assert "in the file" not in done.stdout
    assert re.search(r"┤.*█", done.stdout)
    assert service.stop() == 0


def test_a_service_that_is_away_is_said_and_may_return(
    own_server: NatsServer, service: Running, path: Path
) -> None:
    with on_a_terminal(*beside(own_server)) as terminal:
        terminal.wait_for("Ctrl-C ends it")
        assert service.stop() == 0
        terminal.wait_for("no service listens at rosey.db.")
        with running("--nats-url", own_server.url, "--db-path", path) as again:
            again.wait_for(SERVING)
            terminal.wait_for("demo-")
            while "no service" in last_frame(terminal.said):
                terminal.wait_for("who is here")
            assert terminal.stop(signal.SIGTERM) == 0
            assert again.stop() == 0


def last_frame(said: str) -> str:
    return said.split("who is here")[-2]


def test_a_locked_file_is_said_and_nobody_stays(
    own_server: NatsServer, service: Running, path: Path
) -> None:
    with on_a_terminal(*beside(own_server), "--db-path", path) as terminal:
        terminal.wait_for("✓")
        with locked(path):
            terminal.wait_for("no answer to rosey.db.")
        terminal.wait_for("✓")
        assert terminal.stop(signal.SIGINT) == 0
    assert (select(path, HERE), select(path, UNSENT)) == ([], [])
    assert service.stop() == 0


def test_a_file_that_is_locked_at_the_end_is_waited_for(
    own_server: NatsServer, service: Running, path: Path
) -> None:
    with on_a_terminal(*beside(own_server), "--db-path", path) as terminal:
        terminal.wait_for("✓")
        with lock_elsewhere(path) as holding:
            os.kill(terminal.pid, signal.SIGINT)
            for _ in range(3):  # each asks for two seconds, in vain
                assert run(*beside(own_server)).returncode == 1
            holding.communicate()
        code = terminal.wait()
    assert (select(path, HERE), select(path, UNSENT)) == ([], [])
    assert code == 0
    assert service.stop() == 0


def test_what_was_told_while_no_service_was_there_is_told_again_at_the_end(
    own_server: NatsServer, service: Running, path: Path
) -> None:
    with on_a_terminal(*beside(own_server), "--db-path", path, "--rate", "6000") as terminal:
        terminal.wait_for("✓")
        service.kill()
        for _ in range(16):  # some come and go meanwhile
            terminal.wait_for("no service listens")
        with running("--nats-url", own_server.url, "--db-path", path) as again:
            again.wait_for(SERVING)
            assert terminal.stop(signal.SIGINT) == 0
            assert (select(path, HERE), select(path, UNSENT)) == ([], [])
            assert again.stop() == 0


def test_a_terminal_that_is_closed_leaves_nobody_behind(
    own_server: NatsServer, service: Running, path: Path
) -> None:
    with on_a_terminal(*beside(own_server), "--db-path", path) as terminal:
        terminal.wait_for("✓")
        assert terminal.stop(signal.SIGHUP) == 0
    assert len(select(path, "SELECT * FROM user_stats")) > 4
    assert (select(path, HERE), select(path, UNSENT)) == ([], [])
    assert service.stop() == 0


@pytest.mark.parametrize("output", ["/dev/full", "a pipe that is closed"])
def test_where_nothing_can_be_written_nobody_is_left_behind(
    own_server: NatsServer, service: Running, path: Path, output: str
) -> None:
    writing = os.open(output, os.O_WRONLY) if output == "/dev/full" else closed_pipe()
    process = subprocess.run(
        [*COMMAND, *beside(own_server), "--seconds", "2"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        env=ENVIRONMENT,
    )
    os.close(writing)
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert len(select(path, "SELECT * FROM user_stats")) > 4
    assert select(path, HERE) == []
    assert service.stop() == 0


def closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def test_a_service_that_is_gone_at_the_end_is_said(
    own_server: NatsServer, service: Running
) -> None:
    with on_a_terminal(*beside(own_server)) as terminal:
        terminal.wait_for("Ctrl-C ends it")
        service.kill()
        assert terminal.stop(signal.SIGINT) == 1
    assert "no service answered at the end" in terminal.said
    assert "Traceback" not in terminal.said


def test_ctrl_c_ends_it_while_it_waits_for_the_first_answer(
    own_server: NatsServer, service: Running, path: Path
) -> None:
    service.send(signal.SIGSTOP)
    port = int(own_server.url.rpartition(":")[2])
    with on_a_terminal(*beside(own_server)) as terminal:
        process = psutil.Process(terminal.pid)
        while not any(each.raddr and each.raddr.port == port for each in process.net_connections()):
            assert process.is_running()
        code = terminal.stop(signal.SIGINT)
    service.send(signal.SIGCONT)
    assert (code, terminal.said) == (0, "ended before there was something to show\r\n")
    assert run("ping", "--nats-url", own_server.url).returncode == 0
    assert service.stop() == 0
    assert select(path, "SELECT * FROM user_stats") == []


def test_a_terminal_of_few_characters_has_others_shown_for_them(tmp_path: Path) -> None:
    env = ENVIRONMENT | {"PYTHONIOENCODING": "ascii", "TMPDIR": str(tmp_path)}
    done = run("demo", "--seconds", 1, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "who is here" in done.stdout


def test_when_its_server_dies_it_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    with on_a_terminal("demo", TMPDIR=str(tmp_path)) as terminal:
        terminal.wait_for("✓")
        children = psutil.Process(terminal.pid).children(recursive=True)
        (server,) = [each for each in children if each.name() == "nats-server"]
        server.kill()
        assert terminal.wait() == 1
    assert "the embedded NATS server has ended" in terminal.said.splitlines()[-1]
    assert "Traceback" not in terminal.said
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--nats-url", "nats://127.0.0.1:1"], 2, "add --running .*, or --own"),
        (["--running", "--nats-url", "nats://127.0.0.1:1"], 2, "no NATS server answers at"),
        (["--db-path", "bot_data.db"], 2, "--db-path goes with --running"),
        (["--rate", "0"], 2, "Invalid value for '--rate'"),
        (["--seconds", "-1"], 2, "Invalid value for '--seconds'"),
    ],
)
def test_what_cannot_be_shown_is_one_line(arguments: list[str], code: int, said: str) -> None:
    done = run("demo", *arguments)
    assert done.returncode == code
    assert re.search(said, done.stderr)
    assert "Traceback" not in done.stderr


def test_where_no_service_answers_it_says_so(own_server: NatsServer) -> None:
    done = run(*beside(own_server))
    assert done.returncode == 1
    assert "no service listens at rosey.db." in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("kind", ["missing", "text", "empty"])
def test_a_file_that_is_no_database_is_one_line_before_anything_is_told(
    own_server: NatsServer, service: Running, path: Path, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "other.db"
    if kind != "missing":
        file.write_text("no database" * 100 if kind == "text" else "")
    done = run(*beside(own_server), "--db-path", file)
    assert done.returncode == 1
    assert str(file) in done.stderr
    assert done.stderr.count("\n") == 1
    assert file.exists() == (kind != "missing")
    assert service.stop() == 0
    assert select(path, "SELECT * FROM user_stats") == []


def test_another_database_is_doubted(
    own_server: NatsServer, service: Running, tmp_path: Path
) -> None:
    other = tmp_path / "other.db"
    BotDatabase(other).close()
    done = run(
        *beside(own_server),
        *("--db-path", other, "--seconds", 1),
    )
    assert done.returncode == 0
    assert f"nobody of these is in {other}" in done.stdout
    with closing(sqlite3.connect(other)) as conn:
        assert conn.execute("SELECT count(*) FROM outbound_messages").fetchone() == (0,)
    assert service.stop() == 0


def test_a_server_in_the_environment_is_not_touched_unasked(own_server: NatsServer) -> None:
    done = run("demo", env=ENVIRONMENT | {"NATS_URL": own_server.url})
    assert done.returncode == 2
    port = str(free_port())
    env = ENVIRONMENT | {"NATS_URL": own_server.url, "ROSEY_DBSVC_LOCAL_PORT": port}
    done = run("demo", "--own", "--seconds", 1, env=env)
    assert done.returncode == 0
    assert "its own service" in done.stdout
