"""What the process costs: its start, its help, and an hour in which nothing happens."""

import re
import subprocess
import sys
import time

import psutil

from benchmarks.machinery import Row, Server, folder, spread

COMMAND = [sys.executable, "-m", "rosey_dbsvc"]
IDLE = 20
"""How long to watch an idle service, in seconds."""


def measure(server: Server, rounds: int) -> list[Row]:
    """Return a row for each."""
    helps, starts, idles = [], [], []
    for turn in range(rounds):
        begun = time.perf_counter()
        subprocess.run([*COMMAND, "--help"], capture_output=True, check=True)
        helps.append(time.perf_counter() - begun)
        start, idle = _run(server, watched=turn == 0)
        starts.append(start)
        idles += idle
    return [
        Row("`rosey-dbsvc --help`, s", spread(helps), ""),
        Row("`rosey-dbsvc run` to serving, s", spread(starts), ""),
        Row("idle, CPU seconds a minute", spread(idles), f"watched once, for {IDLE} s"),
    ]


def _run(server: Server, *, watched: bool) -> tuple[float, list[float]]:
    with folder() as place:
        command = [*COMMAND, "run", "--nats-url", server.url, "--db-path", str(place / "b.db")]
        begun = time.perf_counter()
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        while not re.search("serving", process.stderr.readline()):
            pass
        start = time.perf_counter() - begun
        idle = [_idle(process.pid)] if watched else []
        process.terminate()
        process.communicate()
    return start, idle


def _idle(pid: int) -> float:
    process = psutil.Process(pid)
    before = process.cpu_times()
    time.sleep(IDLE)
    after = process.cpu_times()
    return round(after.user + after.system - before.user - before.system, 3) * 60 / IDLE
