"""`rosey-dbsvc demo`, as a new user sees it."""

import os
import re
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from support.processes import COMMAND, ENVIRONMENT, run
from support.servers import NatsServer
from support.terminal import LINES, Terminal, on_a_terminal

TOTALS = (
    r"(\d+) s: ([\d,]+) events published, ([\d,]+) of them chat messages; "
    r"([\d,]+) queries, median [\d.]+ ms"
)
RESULT = r"all ([\d,]+) chat messages are in the database\r?\n$"
PANELS = ("users: ", "recent chat", "user counts", "outbound messages")


def summary(shown: str) -> tuple[int, ...]:
    """Return the last totals: seconds, events, chat messages and queries, and what is stored."""
    *_, totals = re.findall(TOTALS, shown)
    stored = re.search(RESULT, shown)
    assert stored is not None, shown
    return tuple(int(each.replace(",", "")) for each in (*totals, stored[1]))


def children(terminal: Terminal) -> list[psutil.Process]:
    return psutil.Process(terminal.pid).children(recursive=True)


def test_it_shows_a_channel_with_its_own_service_and_leaves_no_folder(tmp_path: Path) -> None:
    env = ENVIRONMENT | {"TMPDIR": str(tmp_path)}
    done = run("demo", "--duration", "3s", "--rate", 600, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(title in done.stdout for title in PANELS)
    seconds, events, messages, queries, stored = summary(done.stdout)
    assert seconds >= 3
    assert events > messages > 5
    assert queries > 4
    assert stored == messages
    assert "Ctrl-C" not in done.stdout
    assert re.search(r"│ ✓ \w+", done.stdout)
    assert re.search(r"┤.*█", done.stdout)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_a_summary_and_leaves_no_process_and_no_folder(
    tmp_path: Path, number: signal.Signals
) -> None:
    with on_a_terminal("demo", TMPDIR=str(tmp_path)) as terminal:
        terminal.wait_for("Ctrl-C ends it")
        terminal.wait_for("✓")
        servers = children(terminal)
        assert any("nats-server" in each.name() for each in servers)
        assert terminal.stop(number) == 0
    assert summary(terminal.said)
    assert terminal.said.count("\x1b[?25h") == terminal.said.count("\x1b[?25l") == 1
    assert psutil.wait_procs(servers, timeout=10)[1] == []
    assert [*tmp_path.iterdir()] == []


def test_a_signal_before_there_is_anything_to_show_ends_it(tmp_path: Path) -> None:
    with on_a_terminal("demo", TMPDIR=str(tmp_path)) as terminal:
        while not children(terminal):  # until it starts its server
            pass
        assert terminal.stop(signal.SIGINT) == 0
    assert re.search(RESULT, terminal.said)
    assert "Traceback" not in terminal.said
    assert [*tmp_path.iterdir()] == []


def test_it_stays_within_a_terminal_of_24_lines() -> None:
    with on_a_terminal("demo", "--duration", "1s") as terminal:
        assert terminal.wait() == 0
    _, *frames, _ = terminal.said.split("a simulated channel")
    assert len(frames) > 3
    assert max(frame.count("\r\n") for frame in frames) < LINES
    assert all("Ctrl-C ends it" in frame for frame in frames)  # or it was cut off


@pytest.mark.parametrize("output", ["/dev/full", "a closed pipe"])
def test_if_it_cannot_write_it_fails_without_a_traceback_and_leaves_no_folder(
    tmp_path: Path, output: str
) -> None:
    writing = os.open(output, os.O_WRONLY) if output == "/dev/full" else closed_pipe()
    process = subprocess.run(
        [*COMMAND, "demo", "--duration", "2s"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        env=ENVIRONMENT | {"TMPDIR": str(tmp_path)},
    )
    os.close(writing)
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert len(process.stderr.splitlines()) <= 1  # a closed pipe is no news to who closed it
    assert [*tmp_path.iterdir()] == []


def closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def test_a_terminal_of_few_characters_shows_others_for_them(tmp_path: Path) -> None:
    env = ENVIRONMENT | {"PYTHONIOENCODING": "ascii", "TMPDIR": str(tmp_path)}
    done = run("demo", "--duration", 1, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "recent chat" in done.stdout


def test_when_its_server_dies_it_fails_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with on_a_terminal("demo", TMPDIR=str(tmp_path)) as terminal:
        terminal.wait_for("✓")
        (server,) = [each for each in children(terminal) if each.name() == "nats-server"]
        server.kill()
        assert terminal.wait() == 1
    assert "the embedded NATS server has ended" in terminal.said.splitlines()[-1]
    assert "Traceback" not in terminal.said
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--rate", "0"), "--rate: expected 1 to 60000"),
        (("--duration", "-1"), "--duration: expected a duration like 10s"),
        (("--running",), "No such option: --running"),
    ],
)
def test_a_bad_flag_is_one_line(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    done = run("demo", *arguments, env=ENVIRONMENT | {"TMPDIR": str(tmp_path)})
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"rosey-dbsvc: {says}")
    assert [*tmp_path.iterdir()] == []


def test_it_does_not_touch_a_server_in_the_environment(own_server: NatsServer) -> None:
    port = str(own_server.port)
    env = {"NATS_URL": own_server.url, "ROSEY_DBSVC_LOCAL_PORT": port}
    with on_a_terminal("demo", **env) as terminal:
        terminal.wait_for("✓")
        process = psutil.Process(terminal.pid)
        peers = {each.raddr.port for each in process.net_connections() if each.raddr}
        assert terminal.stop(signal.SIGINT) == 0
    assert peers
    assert own_server.port not in peers
