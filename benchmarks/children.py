"""Child processes: modules of the benchmarks that print one JSON value per line."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class Child:
    """A running child process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def read(self) -> Any:
        """Wait for the next value that the child sends, and return it."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a child process ended too early")
        return json.loads(line)


@contextmanager
def child(module: str, *arguments: object) -> Iterator[Child]:
    """Run a module of the benchmarks as a process, and kill it at the end."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield Child(process)
    finally:
        process.kill()
        process.communicate()


def send(**values: object) -> None:
    """Send values from a child to its parent, which calls `Child.read`."""
    print(json.dumps(values), flush=True)
