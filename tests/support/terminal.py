"""`rosey-dbsvc` on a terminal."""

import errno
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager

from support.processes import COMMAND, ENVIRONMENT

COLUMNS, LINES = 100, 24


class Terminal:
    """A terminal with a command in it, and all its output so far."""

    def __init__(self, *arguments: object, **env: str) -> None:
        self.said = ""
        self._looked_at = 0
        self._outside, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self._process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            env={name: ENVIRONMENT[name] for name in ENVIRONMENT if name != "COLUMNS"}
            | {"TERM": "xterm", **env},
        )
        os.close(inside)

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, text: str) -> None:
        """Read until the text is shown once more than before."""
        while text not in self.said[self._looked_at :]:
            assert self._read(), f"it ended without {text!r}: {self.said}"
        self._looked_at = self.said.index(text, self._looked_at) + len(text)

    def stop(self, number: signal.Signals) -> int:
        """Send a signal, read to the end, and return the exit code."""
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        while self._read():
            pass
        return self._process.wait(timeout=30)

    def _read(self) -> bool:
        try:
            got = os.read(self._outside, 4096)
        except OSError as error:
            if error.errno != errno.EIO:  # Linux: nobody holds the other end
                raise
            return False
        self.said += got.decode(errors="replace")
        return bool(got)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._outside)


@contextmanager
def on_a_terminal(*arguments: object, **env: str) -> Iterator[Terminal]:
    terminal = Terminal(*arguments, **env)
    try:
        yield terminal
    finally:
        terminal.close()
