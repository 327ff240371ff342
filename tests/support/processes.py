"""`rosey-dbsvc` as a process."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-m", "rosey_dbsvc")
SERVING = r"serving \S+ on (\S+) with the database"
STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# No variable from outside may set a flag.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("ROSEY_DBSVC_", "NATS_"))
} | {"COLUMNS": "200", "NO_COLOR": "1"}


@contextmanager
def signals_of_children_restored() -> Iterator[None]:
    """Give children the default action of each signal that this process ignores, as under nohup.

    An ignored signal stays ignored in a child. One with a handler has its default action there.
    """
    ignored = [each for each in STOPPING_SIGNALS if signal.getsignal(each) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda _number, _frame: None)
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **{"env": ENVIRONMENT, **options},
    )


class Running:
    """A running `rosey-dbsvc run` or other command, and its log so far."""

    def __init__(
        self,
        *arguments: object,
        verb: str = "run",
        command: tuple[str, ...] = COMMAND,
        **env: str,
    ) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [*command, verb, *map(str, arguments)],
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT | env,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def peak(self) -> int:
        """Peak memory so far, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024

    @property
    def said(self) -> str:
        return "".join(self.lines)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until a line matches."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"it ended without saying {pattern!r}: {self.said}")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end, and return the exit code."""
        _, rest = self._process.communicate(timeout=60)
        self.lines += rest.splitlines(keepends=True)
        return self._process.returncode

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.send(number)
        return self.wait()

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@contextmanager
def running(*arguments: object, **options: Any) -> Iterator[Running]:
    """Run a command; kill it at the end if it still runs."""
    process = Running(*arguments, **options)
    try:
        yield process
    finally:
        process.kill()


def refused_run(code: int, says: str, *arguments: object, **env: str) -> None:
    """Check that the service does not start, and logs one line that matches and no more."""
    nowhere = {"NATS_URL": "nats://127.0.0.1:1"}
    result = run("run", *arguments, env=ENVIRONMENT | nowhere | env)
    assert result.returncode == code, result.stderr
    complaints = [line for line in result.stderr.splitlines() if " INFO " not in line]
    assert len(complaints) == 1, result.stderr
    assert re.search(says, result.stderr.splitlines()[-1]), result.stderr
