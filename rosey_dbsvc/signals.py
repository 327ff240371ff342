"""The signals that ask a process to end."""

import logging
import signal
from collections.abc import Callable
from typing import Final

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

logger = logging.getLogger(__name__)

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

Obey = Callable[[signal.Signals], None]


async def obey_signals(obey: Obey, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
    """Call the function with each signal; started means that they end the process no more."""
    try:
        with anyio.open_signal_receiver(*SIGNALS) as signals:
            task_status.started()
            async for number in signals:
                obey(number)
    finally:
        for each in SIGNALS:  # what is left is the way out
            signal.signal(each, signal.SIG_IGN)
