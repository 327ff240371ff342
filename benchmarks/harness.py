"""Parts that all measures use: a nats-server, a scratch directory, and statistics of several runs.

"Rounds" are the runs of each variant. The variants take turns, so that a disturbance of the machine
affects all of them.
"""

import re
import shutil
import statistics
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.children import ROOT

SCRATCH = ROOT / "build" / "bench"
"""On the disk of the project, because /tmp may be in memory."""
PREFIX = "bench.db"

MILLISECONDS = 1e3  # per second
MICROSECONDS = 1e6
MEGABYTE = 1e6

# By default, the server drops messages if more than 10,000 are not stored yet.
JETSTREAM = """
jetstream {{ store_dir: "{store}", max_buffered_msgs: 2000000, max_buffered_size: 1GB }}
"""


class Spread(NamedTuple):
    """Results of several runs."""

    median: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        median, lowest, highest = map(format_number, self)
        return f"{median} ({lowest}–{highest})"


class Row(NamedTuple):
    """A row of the table."""

    measurement: str
    spread: Spread
    compared_with: str = ""


@contextmanager
def nats_server() -> Iterator[str]:
    """Run a real nats-server with JetStream on a free port of this machine; yield its URL."""
    binary = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or "nats-server"
    with scratch() as directory:
        config = directory / "nats.conf"
        config.write_text(JETSTREAM.format(store=directory))
        command = [binary, "-a", "127.0.0.1", "-p", "-1", "-c", str(config)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            yield _wait_until_ready(process)
        finally:
            process.kill()
            process.communicate()


def _wait_until_ready(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    url = ""
    for line in process.stderr:
        if found := re.search(r"Listening for client connections on (\S+)", line):
            url = f"nats://{found[1]}"
        if "Server is ready" in line:
            break
    return url


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a temporary directory on the disk that is measured."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=SCRATCH) as name:
        yield Path(name)


def percentile(values: list[float], percent: int) -> float:
    """Return a percentile of the values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def spread(values: list[float]) -> Spread:
    """Return the median, the lowest and the highest value."""
    return Spread(statistics.median(values), min(values), max(values))


def format_number(value: float) -> str:
    """Format a number without decimals, or below 100 with three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
