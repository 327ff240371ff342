"""The service inside a bot, on asyncio or trio."""

from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, Final, TypeVar

import anyio
from anyio import TASK_STATUS_IGNORED, CancelScope, from_thread
from anyio.abc import TaskStatus
from anyio.from_thread import BlockingPortal, start_blocking_portal
from anyio.lowlevel import current_token

from rosey_dbsvc._aio import in_thread
from rosey_dbsvc.client import DatabaseClient
from rosey_dbsvc.errors import ConnectionLost, sole_error
from rosey_dbsvc.messaging.connection import is_asyncio
from rosey_dbsvc.messaging.transport import Transport
from rosey_dbsvc.service.composition import composed
from rosey_dbsvc.service.service import DatabaseService
from rosey_dbsvc.settings import Settings

STOPPED: Final = "the service has stopped"

T = TypeVar("T")


async def serve(
    settings: Settings, *, task_status: TaskStatus[DatabaseClient] = TASK_STATUS_IGNORED
) -> None:
    """Serve in the host's task group until cancelled, and then stop as usual.

    For example::

        async with anyio.create_task_group() as tg:
            db = await tg.start(serve, Settings(db_path="bot_data.db"))

    On asyncio it runs in the host's event loop, on trio in an event loop and a thread of its own.
    What was published through the client is applied before the service stops. Raises the errors of
    `DatabaseService.serve`.
    """
    if is_asyncio():
        await _serve(settings, task_status.started)
    else:
        await _serve_in_portal(settings, task_status)


async def _serve(settings: Settings, started: Callable[[DatabaseClient], None]) -> None:
    with sole_error():
        async with composed(settings) as (service, urls), anyio.create_task_group() as tasks:
            await tasks.start(_serve_shielded, service, name="rosey-dbsvc")
            try:
                async with _client(settings, urls) as db:
                    started(db)
                    await anyio.sleep_forever()
            finally:
                service.request_stop()


def _client(settings: Settings, urls: list[str]) -> DatabaseClient:
    return DatabaseClient(
        urls,
        prefix=settings.prefix,
        durable=settings.durable is not None,
        credentials=settings.credentials,
    )


async def _serve_shielded(service: DatabaseService, *, task_status: TaskStatus[None]) -> None:
    with CancelScope() as scope:
        await service.serve(task_status=_ShieldWhenStarted(scope, task_status))


class _ShieldWhenStarted:
    """Shields the service once it serves, so that the host's cancellation ends the client first."""

    def __init__(self, scope: CancelScope, task_status: TaskStatus[None]) -> None:
        self._scope = scope
        self._task_status = task_status

    def started(self, value: None = None) -> None:
        """Shield, and report it."""
        self._scope.shield = True
        self._task_status.started(value)


async def _serve_in_portal(settings: Settings, task_status: TaskStatus[DatabaseClient]) -> None:
    async with in_thread(start_blocking_portal("asyncio", name="rosey-dbsvc")) as portal:
        bridge = _Bridge(task_status, portal)
        try:
            await portal.call_async(_serve, settings, bridge.started)
        finally:
            with CancelScope(shield=True):
                await bridge.close()


class _Bridge:
    """Passes the client to the host's event loop."""

    def __init__(self, task_status: TaskStatus[DatabaseClient], portal: BlockingPortal) -> None:
        self._task_status = task_status
        self._portal = portal
        self._host = current_token()
        self._transport: _PortalTransport | None = None

    def started(self, db: DatabaseClient) -> None:
        """Take the client, in the thread of the service."""
        from_thread.run_sync(self._start, db, token=self._host)

    def _start(self, db: DatabaseClient) -> None:
        self._task_status.started(db.over(self._wrap))

    def _wrap(self, transport: Transport) -> Transport:
        self._transport = _PortalTransport(transport, self._portal)
        return self._transport

    async def close(self) -> None:
        """Refuse further calls, and wait for those in progress, which end with the service."""
        if self._transport is not None:
            await self._transport.close()


class _PortalTransport:
    """A transport in another event loop. Raises ConnectionLost when that has ended."""

    def __init__(self, transport: Transport, portal: BlockingPortal) -> None:
        self._transport = transport
        self._portal = portal
        self._calls = 0
        self._is_closed = False
        self._call_ended = anyio.Event()

    async def publish(self, subject: str, payload: bytes) -> None:
        """Publish an event there."""
        await self._call(self._transport.publish, subject, payload)

    async def request(self, subject: str, payload: bytes) -> bytes:
        """Return the reply received there."""
        return await self._call(self._transport.request, subject, payload)

    async def close(self) -> None:
        """Return when no call is in progress. A call to a loop that ends would never return."""
        self._is_closed = True
        while self._calls:
            self._call_ended = anyio.Event()
            await self._call_ended.wait()

    async def _call(
        self, func: Callable[[str, bytes], Coroutine[Any, Any, T]], subject: str, payload: bytes
    ) -> T:
        if self._is_closed:
            raise ConnectionLost(f"{subject}: {STOPPED}")
        self._calls += 1
        try:
            result: T = await self._portal.call_async(func, subject, payload)
        except CancelledError:  # of the service, as it ends
            raise ConnectionLost(f"{subject}: {STOPPED}") from None
        finally:
            self._calls -= 1
            self._call_ended.set()
        return result
