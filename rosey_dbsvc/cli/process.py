"""The service and the replay as processes, with signals and systemd notifications."""

import os
import signal

import anyio
from anyio import CancelScope

from rosey_dbsvc._text import Logger
from rosey_dbsvc.cli.signals import handle_signals
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.errors import sole_error
from rosey_dbsvc.monitoring.systemd import Notifier
from rosey_dbsvc.service.composition import composed
from rosey_dbsvc.service.replay import Replay
from rosey_dbsvc.service.service import DatabaseService
from rosey_dbsvc.settings import Durable, Settings
from rosey_dbsvc.storage.admin import Report

logger = Logger(__name__)


class Process:
    """One `rosey-dbsvc run`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._scope = CancelScope()
        self._service: DatabaseService | None = None
        self._notifier = Notifier(os.environ)

    async def run(self) -> int:
        """Serve until a signal arrives; return the exit code. Raises a DbsvcError."""
        with sole_error():
            async with anyio.create_task_group() as tasks:
                await tasks.start(handle_signals, self._handle_signal, name="signals")
                tasks.start_soon(self._notifier.keep_notifying, self._status, name="systemd")
                with self._scope:
                    await self._serve()
                tasks.cancel_scope.cancel()
        return 1 if self._service and self._service.counts.abandoned else 0

    async def _serve(self) -> None:
        async with composed(self._settings) as (service, _), anyio.create_task_group() as tasks:
            self._service = service
            await tasks.start(service.serve, name="rosey-dbsvc")
            self._notifier.notify(READY=1, STATUS=self._status())

    def _status(self) -> str:
        counts = self._service.counts if self._service else Counts()
        return (
            f"{'connected to NATS' if counts.connected else 'waiting for NATS'}, "
            f"{counts.applied} events applied, {counts.rejected} rejected, "
            f"{counts.pending} pending, {counts.answered} queries answered"
        )

    def _handle_signal(self, number: signal.Signals) -> None:
        if not self._scope.cancel_called:
            logger.info("received %(signal)s: stopping", signal=number.name)
            self._notifier.notify(STOPPING=1, STATUS="applying delivered events")
            self._scope.cancel()
        elif self._service is not None:
            logger.warning("received %(signal)s again: stopping at once", signal=number.name)
            self._service.abort()


def run(settings: Settings) -> int:
    """Run the service; return the exit code. Raises a DbsvcError."""
    return anyio.run(_run, settings, backend_options={"use_uvloop": _has_uvloop()})


async def _run(settings: Settings) -> int:
    return await Process(settings).run()


def _has_uvloop() -> bool:
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return False
    return True


def replay(
    settings: Settings, durable: Durable, report: Report
) -> tuple[int, signal.Signals | None]:
    """Replay a stream; return the number of events, and the signal that interrupted it."""
    ended_by: list[signal.Signals] = []

    async def main() -> int:
        it = Replay(settings, durable, report)

        def interrupt(number: signal.Signals) -> None:
            ended_by.append(number)
            it.stop()

        with sole_error():
            async with anyio.create_task_group() as tasks:
                await tasks.start(handle_signals, interrupt, name="signals")
                await it.run()
                tasks.cancel_scope.cancel()
        return it.counts.applied

    applied = anyio.run(main)
    return applied, ended_by[0] if ended_by else None
