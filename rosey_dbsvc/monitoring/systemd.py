"""What the service manager is told, if it has asked for it: sd_notify(3)."""

import logging
import os
import re
import socket
from collections.abc import Callable, Mapping
from typing import Final

import anyio

logger = logging.getLogger(__name__)

TOLD_EVERY: Final = 10.0
"""How often the status is renewed, in seconds."""
MICROSECONDS: Final = re.compile(r"\d{1,18}")


class Manager:
    """The process that started this one, as the environment tells of it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        socket_name = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{socket_name[1:]}" if socket_name.startswith("@") else socket_name
        self._watchdog = _watchdog(environ)
        self._untold: dict[str, object] = {}
        self._complained = False

    def tell(self, **state: object) -> None:
        """Tell it, without waiting for it. What it could not be told it is told the next time."""
        if not self._address:
            return
        self._untold |= state
        lines = "\n".join(f"{name}={value}" for name, value in self._untold.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.setblocking(False)
                notify.sendto(lines.encode(), self._address)
        except OSError as error:
            self._complain(error)
        else:
            self._untold, self._complained = {}, False

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            logger.warning("the service manager cannot be told: %s", error.strerror or error)

    async def keep_telling(self, status: Callable[[], str]) -> None:
        """Tell it the status at times, and in time that this event loop runs, until cancelled."""
        every = min(TOLD_EVERY, self._watchdog / 2 if self._watchdog else TOLD_EVERY)
        alive = {"WATCHDOG": 1} if self._watchdog else {}
        while self._address:
            self.tell(STATUS=status(), **alive)
            await anyio.sleep(every)


def _watchdog(environ: Mapping[str, str]) -> float:
    """Return after how much silence we are restarted, in seconds; 0 for never."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    micros = environ.get("WATCHDOG_USEC", "")
    return int(micros) / 1e6 if MICROSECONDS.fullmatch(micros) else 0.0
