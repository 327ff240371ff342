"""Real nats-servers on free ports. Readiness is read from the log."""

import re
import shutil
import signal
import socket
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

BINARY = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or "nats-server"
LISTENING = re.compile(r"Listening for client connections on \S+:(\d+)")


class NatsServer:
    """A server on the loopback address. A restart keeps the port."""

    def __init__(self, *arguments: str, config: Path | None = None) -> None:
        self.port = 0
        self.arguments = [*arguments, *(["-c", str(config)] if config else [])]
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        port = str(self.port or -1)
        self._process = subprocess.Popen(
            [BINARY, "-a", "127.0.0.1", "-p", port, *self.arguments],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if found := LISTENING.search(line):
                self.port = int(found[1])
            if "Server is ready" in line:
                return
        raise RuntimeError("the nats-server did not start")

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it, as in a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def nats_server(*arguments: str, config: Path | None = None) -> Iterator[NatsServer]:
    server = NatsServer(*arguments, config=config)
    server.start()
    try:
        yield server
    finally:
        server.kill()


class Cluster:
    """Three servers with JetStream, each with its own store directory."""

    def __init__(self, folder: Path) -> None:
        ports = [free_port() for _ in range(3)]
        routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports)
        self.nodes = {
            name: NatsServer(
                *("-n", name, "-js", "-sd", str(folder / name), "--cluster_name", "tests"),
                *("--cluster", f"nats://127.0.0.1:{port}", "--routes", routes),
            )
            for name, port in zip("abc", ports, strict=True)
        }

    @property
    def urls(self) -> str:
        return ",".join(node.url for node in self.nodes.values())


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    made = Cluster(folder)
    try:
        for node in made.nodes.values():
            node.start()
        yield made
    finally:
        for node in made.nodes.values():
            node.kill()
