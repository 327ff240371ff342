"""The signals that ask a process to end."""

import logging
import signal
from collections.abc import Callable
from typing import Final

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

logger = logging.getLogger(__name__)

HANG_UP: Final = getattr(signal, "SIGHUP", None)
"""Comes when the terminal is closed. Windows has none."""

Obey = Callable[[signal.Signals], None]


async def obey_signals(obey: Obey, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
    """Call the function with each signal; started means that they end the process no more."""
    obeyed = _obeyed()
    try:
        with anyio.open_signal_receiver(*obeyed) as signals:
            task_status.started()
            async for number in signals:
                obey(number)
    finally:
        for each in obeyed:  # what is left is the way out
            signal.signal(each, signal.SIG_IGN)


def _obeyed() -> list[signal.Signals]:
    signals = [signal.SIGINT, signal.SIGTERM]
    if HANG_UP is not None and signal.getsignal(HANG_UP) is not signal.SIG_IGN:  # as nohup has it
        signals.append(HANG_UP)
    return signals
