"""The service as a process: settings, a server, a database and signals, joined."""

import logging
import os
import signal

import anyio
from anyio import CancelScope

from rosey_dbsvc.cli.signals import obey_signals
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.errors import sole_error
from rosey_dbsvc.messaging.local_server import servers
from rosey_dbsvc.monitoring.exposing import exposing
from rosey_dbsvc.monitoring.systemd import Manager
from rosey_dbsvc.service.service import DatabaseService
from rosey_dbsvc.settings import Settings
from rosey_dbsvc.storage.opening import load_factory

logger = logging.getLogger(__name__)


class Process:
    """One `rosey-dbsvc run`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._factory = load_factory(settings.database)
        self._scope = CancelScope()
        self._service: DatabaseService | None = None
        self._manager = Manager(os.environ)

    async def run(self) -> int:
        """Serve until a signal comes; return the exit code. Raises a DbsvcError."""
        with sole_error():
            async with anyio.create_task_group() as tasks:
                await tasks.start(obey_signals, self._obey, name="signals")
                tasks.start_soon(self._manager.keep_telling, self._status, name="service manager")
                with self._scope:
                    await self._serve()
                tasks.cancel_scope.cancel()
        return 1 if self._service and self._service.counts.abandoned else 0

    async def _serve(self) -> None:
        settings = self._settings
        async with exposing(settings, lambda: self._counts), servers(settings) as urls:
            self._service = DatabaseService.of(settings, urls, self._factory)
            async with anyio.create_task_group() as tasks:
                await tasks.start(self._service.serve, name="rosey-dbsvc")
                self._manager.tell(READY=1, STATUS=self._status())

    def _status(self) -> str:
        counts = self._counts
        return (
            f"{'connected to NATS' if counts.connected else 'waiting for NATS'}, "
            f"{counts.applied} events applied, {counts.rejected} rejected, "
            f"{counts.pending} pending, {counts.answered} queries answered"
        )

    @property
    def _counts(self) -> Counts:
        return self._service.counts if self._service else Counts()

    def _obey(self, number: signal.Signals) -> None:
        if not self._scope.cancel_called:
            logger.info("%s: stopping", number.name)
            self._manager.tell(STOPPING=1, STATUS="applying what was delivered")
            self._scope.cancel()
        elif self._service is not None:
            logger.warning("%s again: stopping at once", number.name)
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
