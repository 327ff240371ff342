"""Metrics, if they are wanted, while a service runs."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager

from anyio import to_thread

from rosey_dbsvc._threads import in_threads
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.errors import InvalidSettings
from rosey_dbsvc.settings import Settings

logger = logging.getLogger(__name__)


@asynccontextmanager
async def exposing(settings: Settings, counts: Callable[[], Counts]) -> AsyncIterator[None]:
    """Have metrics collected while in the context, if the settings say where.

    Raises InvalidSettings if an extra is missing, and CannotServeMetrics.
    """
    if settings.metrics is None:
        yield
        return
    labels = {"prefix": settings.prefix, "mode": "durable" if settings.durable else "core"}
    exposed = await to_thread.run_sync(_exposed)  # it reads files as it is imported
    async with in_threads(exposed(settings.metrics, counts, labels)) as url:
        logger.info("metrics are at %s", url)
        yield


def _exposed() -> Callable[..., AbstractContextManager[str]]:
    try:
        from rosey_dbsvc.monitoring.prometheus import exposed
    except ModuleNotFoundError:
        raise InvalidSettings(
            "--metrics-address needs Prometheus's client: pip install prometheus-client"
        ) from None
    return exposed
