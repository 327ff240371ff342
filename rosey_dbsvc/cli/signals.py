"""Signals that stop a process."""

import logging
import signal
from collections.abc import Callable
from typing import Final

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

logger = logging.getLogger(__name__)

SIGHUP: Final = getattr(signal, "SIGHUP", None)
"""Sent when the terminal is closed. Windows has none."""

REPEAT_INTERVAL: Final = 1.0
"""Signals within this time, in seconds, count as one: shell and kernel both report a hang-up."""

Handler = Callable[[signal.Signals], None]


async def handle_signals(
    handler: Handler, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED
) -> None:
    """Call the handler with each signal. Started means that signals no longer end the process."""
    handled, ignored_until = _handled_signals(), 0.0
    try:
        with anyio.open_signal_receiver(*handled) as signals:
            task_status.started()
            async for number in signals:
                if (now := anyio.current_time()) >= ignored_until:
                    ignored_until = now + REPEAT_INTERVAL
                    handler(number)
    finally:
        for each in handled:  # only the exit is left
            signal.signal(each, signal.SIG_IGN)


def _handled_signals() -> list[signal.Signals]:
    signals = [signal.SIGINT, signal.SIGTERM]
    if SIGHUP is not None and signal.getsignal(SIGHUP) is not signal.SIG_IGN:  # by nohup
        signals.append(SIGHUP)
    return signals
