"""Signals that stop a process."""

import os
import signal

import anyio
import pytest

from rosey_dbsvc.cli import signals
from rosey_dbsvc.cli.signals import handle_signals


async def test_signals_within_the_interval_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "REPEAT_INTERVAL", 0.5)
    received: list[signal.Signals] = []
    arrived = anyio.Event()

    def handle(number: signal.Signals) -> None:
        received.append(number)
        arrived.set()

    async with anyio.create_task_group() as tasks:
        await tasks.start(handle_signals, handle)
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        await arrived.wait()
        await anyio.sleep(0.6)
        assert len(received) == 1
        arrived = anyio.Event()
        os.kill(os.getpid(), signal.SIGINT)
        await arrived.wait()
        tasks.cancel_scope.cancel()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert len(received) == 2
