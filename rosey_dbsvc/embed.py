"""The service inside a bot, whichever of AnyIO's backends the bot runs on."""

from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, Final, Protocol, TypeVar

import anyio
from anyio import TASK_STATUS_IGNORED, CancelScope, from_thread, to_thread
from anyio.abc import TaskStatus
from anyio.from_thread import BlockingPortal, start_blocking_portal
from anyio.lowlevel import current_token

from rosey_dbsvc._threads import in_threads
from rosey_dbsvc.client.client import DatabaseClient
from rosey_dbsvc.errors import ConnectionLost, sole_error
from rosey_dbsvc.messaging.connection import is_asyncio
from rosey_dbsvc.messaging.local_server import servers
from rosey_dbsvc.messaging.transport import Wire
from rosey_dbsvc.monitoring.exposing import exposing
from rosey_dbsvc.service.service import DatabaseService
from rosey_dbsvc.settings import Settings
from rosey_dbsvc.storage.opening import load_factory

ASYNCIO: Final = "asyncio"
STOPPED: Final = "the service has stopped"

T = TypeVar("T")


class Started(Protocol):
    """What is called with the client when the service answers."""

    def started(self, value: DatabaseClient, /) -> None:
        """Take the client."""


async def serve(
    settings: Settings, *, task_status: TaskStatus[DatabaseClient] = TASK_STATUS_IGNORED
) -> None:
    """Serve in the host's task group until that is cancelled, and then stop as ever.

    For example::

        async with anyio.create_task_group() as tg:
            db = await tg.start(serve, Settings(db_path="bot_data.db"))

    On asyncio it runs in the host's event loop, on trio in a loop and a thread of its own. What was
    told through the client is applied before the service stops. Raises what `DatabaseService.serve`
    raises.
    """
    if is_asyncio():
        await _serve(settings, task_status)
    else:
        await _serve_apart(settings, task_status)


async def _serve(settings: Settings, task_status: Started) -> None:
    factory = await to_thread.run_sync(load_factory, settings.database)
    with sole_error():
        async with servers(settings) as urls:
            service = DatabaseService.of(settings, urls, factory)
            async with (
                exposing(settings, lambda: service.counts),
                anyio.create_task_group() as tasks,
            ):
                await tasks.start(_serve_shielded, service, name="rosey-dbsvc")
                try:
                    async with _client(settings, urls) as db:
                        task_status.started(db)
                        await anyio.sleep_forever()
                finally:
                    service.ask_to_stop()


def _client(settings: Settings, urls: list[str]) -> DatabaseClient:
    return DatabaseClient(
        urls,
        prefix=settings.prefix,
        durable=settings.durable is not None,
        credentials=settings.credentials,
    )


async def _serve_shielded(service: DatabaseService, *, task_status: TaskStatus[None]) -> None:
    with CancelScope() as scope:
        await service.serve(task_status=Shielding(scope, task_status))


class Shielding:
    """Shields the service once it serves: the host's cancellation ends the client first."""

    def __init__(self, scope: CancelScope, task_status: TaskStatus[None]) -> None:
        self._scope = scope
        self._task_status = task_status

    def started(self, value: None = None) -> None:
        """Pass it on."""
        self._scope.shield = True
        self._task_status.started(value)


# In a thread of its own


async def _serve_apart(settings: Settings, task_status: TaskStatus[DatabaseClient]) -> None:
    async with in_threads(start_blocking_portal(ASYNCIO, name="rosey-dbsvc")) as portal:
        bridge = Bridge(task_status, portal)
        try:
            await portal.call_async(_serve, settings, bridge)
        finally:
            with CancelScope(shield=True):
                await bridge.leave()


class Bridge:
    """Hands the client over to the host's event loop, and leaves when no call is under way."""

    def __init__(self, task_status: TaskStatus[DatabaseClient], portal: BlockingPortal) -> None:
        self._task_status = task_status
        self._portal = portal
        self._host = current_token()
        self._wire: PortalWire | None = None

    def started(self, db: DatabaseClient, /) -> None:
        """Take the client, in the thread of the service."""
        from_thread.run_sync(self._start, db, token=self._host)

    def _start(self, db: DatabaseClient) -> None:
        self._task_status.started(db.over(self._take))

    def _take(self, wire: Wire) -> Wire:
        self._wire = PortalWire(wire, self._portal)
        return self._wire

    async def leave(self) -> None:
        """Take no further calls, and wait for those that there are: they end with the service."""
        if self._wire is not None:
            await self._wire.leave()


class PortalWire:
    """A wire of another event loop. Raises what that raises, and ConnectionLost when it is over."""

    def __init__(self, wire: Wire, portal: BlockingPortal) -> None:
        self._wire = wire
        self._portal = portal
        self._under_way = 0
        self._left = False
        self._ended = anyio.Event()

    async def tell(self, subject: str, payload: bytes) -> None:
        """Publish an event there."""
        await self._call(self._wire.tell, subject, payload)

    async def ask(self, subject: str, payload: bytes) -> bytes:
        """Return the answer that is given there."""
        return await self._call(self._wire.ask, subject, payload)

    async def leave(self) -> None:
        """Return when no call is under way. One that came to a loop that ends would never end."""
        self._left = True
        while self._under_way:
            self._ended = anyio.Event()
            await self._ended.wait()

    async def _call(
        self, func: Callable[[str, bytes], Coroutine[Any, Any, T]], subject: str, payload: bytes
    ) -> T:
        if self._left:
            raise ConnectionLost(f"{subject}: {STOPPED}")
        self._under_way += 1
        try:
            result: T = await self._portal.call_async(func, subject, payload)
        except CancelledError:  # of the service, as it ends
            raise ConnectionLost(f"{subject}: {STOPPED}") from None
        finally:
            self._under_way -= 1
            self._ended.set()
        return result
