"""Notifications to systemd: sd_notify(3)."""

import os
import re
import socket
from collections.abc import Callable, Mapping
from typing import Final

import anyio

from rosey_dbsvc._text import Logger

logger = Logger(__name__)

STATUS_INTERVAL: Final = 10.0  # time between two status notifications, in seconds
MICROSECONDS: Final = re.compile(r"\d{1,18}")


class Notifier:
    """Sends notifications to the service manager, if the environment names its socket."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        socket_name = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{socket_name[1:]}" if socket_name.startswith("@") else socket_name
        self._watchdog = _watchdog(environ)
        self._unsent: dict[str, object] = {}
        self._has_warned = False

    def notify(self, **state: object) -> None:
        """Send the state without blocking. What cannot be sent is sent with the next one."""
        if not self._address:
            return
        self._unsent |= state
        lines = "\n".join(f"{name}={value}" for name, value in self._unsent.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(lines.encode(), self._address)
        except OSError as error:
            self._warn(error)
        else:
            self._unsent, self._has_warned = {}, False

    def _warn(self, error: OSError) -> None:
        if not self._has_warned:
            self._has_warned = True
            reason = error.strerror or str(error)
            logger.warning("cannot notify systemd: %(reason)s", reason=reason)

    async def keep_notifying(self, status: Callable[[], str]) -> None:
        """Send the status and the watchdog's keep-alive until cancelled."""
        every = min(STATUS_INTERVAL, self._watchdog / 2 if self._watchdog else STATUS_INTERVAL)
        alive = {"WATCHDOG": 1} if self._watchdog else {}
        while self._address:
            self.notify(STATUS=status(), **alive)
            await anyio.sleep(every)


def _watchdog(environ: Mapping[str, str]) -> float:
    """Return the time-out of the watchdog, in seconds; 0 if there is none."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    micros = environ.get("WATCHDOG_USEC", "")
    return int(micros) / 1e6 if MICROSECONDS.fullmatch(micros) else 0.0
