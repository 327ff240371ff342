"""Cost of the process: `--help`, the start, and CPU time when idle."""

import subprocess
import sys
import time

import psutil

from benchmarks.harness import Row, scratch, spread

COMMAND = [sys.executable, "-m", "rosey_dbsvc"]
IDLE_TIME = 20
"""Time that an idle service is measured, in seconds."""


def measure(url: str, rounds: int) -> list[Row]:
    """Measure help and start in each round, and the idle service in the first."""
    helps, starts, idles = [], [], []
    for turn in range(rounds):
        begun = time.perf_counter()
        subprocess.run([*COMMAND, "--help"], capture_output=True, check=True)
        helps.append(time.perf_counter() - begun)
        start, idle = _run(url, measure_idle=turn == 0)
        starts.append(start)
        idles += idle
    return [
        Row("`rosey-dbsvc --help`, s", spread(helps)),
        Row("`rosey-dbsvc run` until it serves, s", spread(starts)),
        Row("idle, CPU seconds per minute", spread(idles), f"measured once, for {IDLE_TIME} s"),
    ]


def _run(url: str, *, measure_idle: bool) -> tuple[float, list[float]]:
    with scratch() as directory:
        command = [*COMMAND, "run", "--nats-url", url, "--db-path", str(directory / "b.db")]
        begun = time.perf_counter()
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        while "serving" not in process.stderr.readline():
            pass
        start = time.perf_counter() - begun
        idle = [_idle(process.pid)] if measure_idle else []
        process.terminate()
        process.communicate()
    return start, idle


def _idle(pid: int) -> float:
    """Return the CPU seconds per minute."""
    process = psutil.Process(pid)
    before = process.cpu_times()
    time.sleep(IDLE_TIME)
    after = process.cpu_times()
    used = (after.user - before.user) + (after.system - before.system)
    return round(used, 3) * 60 / IDLE_TIME
