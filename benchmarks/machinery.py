"""What the measures share: a server, children, and numbers made of several runs."""

import json
import re
import shutil
import statistics
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
SCRATCH = ROOT / "build" / "bench"
"""On the disk of the project, and not on one in memory as /tmp may be."""


# Of what is published faster than it can be stored, the server drops all but 10,000 otherwise.
JETSTREAM = """
jetstream {{ store_dir: "{store}", max_buffered_msgs: 2000000, max_buffered_size: 1GB }}
"""


class Spread(NamedTuple):
    """What several runs gave."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{shown(self.median)} ({shown(self.least)}–{shown(self.most)})"


class Row(NamedTuple):
    """A line of the table."""

    what: str
    spread: Spread
    against: str


class Server(NamedTuple):
    """A real nats-server."""

    url: str


@contextmanager
def nats_server() -> Iterator[Server]:
    """Run a nats-server with JetStream on a free port of the loopback address."""
    binary = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or "nats-server"
    with folder() as place:
        config = place / "nats.conf"
        config.write_text(JETSTREAM.format(store=place))
        yield from _serve([binary, "-a", "127.0.0.1", "-p", "-1", "-c", str(config)])


def _serve(command: list[str]) -> Iterator[Server]:
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        url = ""
        for line in process.stderr:
            if found := re.search(r"Listening for client connections on (\S+)", line):
                url = f"nats://{found[1]}"
            if "Server is ready" in line:
                break
        yield Server(url)
    finally:
        process.kill()
        process.communicate()


def percentile(values: list[float], percent: int) -> float:
    """Return what so many percent of the values do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def spread(values: list[float]) -> Spread:
    """Return the median and the extremes."""
    return Spread(statistics.median(values), min(values), max(values))


def shown(value: float) -> str:
    """Return a number with three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder for a database, on the disk that is measured."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=SCRATCH) as name:
        yield Path(name)


@contextmanager
def child(module: str, *arguments: object) -> Iterator["Child"]:
    """Run a module of the benchmarks as a process, and end it."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield Child(process)
    finally:
        process.kill()
        process.communicate()


class Child:
    """A process that speaks JSON, a line each."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def says(self) -> Any:
        """Return the next thing that it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a child has ended early")
        return json.loads(line)
