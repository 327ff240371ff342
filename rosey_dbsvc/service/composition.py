"""A service with everything around it: NATS server, metrics and database, from its settings."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from anyio import to_thread

from rosey_dbsvc._text import Logger
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.errors import InvalidSettings
from rosey_dbsvc.messaging.local_server import is_listening, local_server
from rosey_dbsvc.service.service import DatabaseService
from rosey_dbsvc.settings import Settings
from rosey_dbsvc.storage.lock import check_path
from rosey_dbsvc.storage.opening import load_factory

logger = Logger(__name__)


@asynccontextmanager
async def composed(settings: Settings) -> AsyncIterator[tuple[DatabaseService, list[str]]]:
    """Start what a service needs; yield the service, which is not started, and its URLs.

    Raises CannotStart, and ConnectionLost if an embedded server ends.
    """
    await to_thread.run_sync(settings.credentials.options)  # checks its files
    factory = await to_thread.run_sync(load_factory, settings.database)
    await to_thread.run_sync(check_path, settings.db_path)
    service: DatabaseService | None = None
    # In a thread, because the import reads files.
    metrics = await to_thread.run_sync(
        _metrics, settings, lambda: service.counts if service else Counts()
    )
    async with metrics, _servers(settings) as urls:
        service = DatabaseService(
            urls,
            settings.db_path,
            prefix=settings.prefix,
            stop_timeout=settings.stop_timeout,
            maintain_every=settings.maintain_every,
            database=factory,
            durable=settings.durable,
            credentials=settings.credentials,
        )
        yield service, urls


@asynccontextmanager
async def _servers(settings: Settings) -> AsyncIterator[list[str]]:
    """Yield the URLs in the settings, or of the server on this machine, started if needed."""
    port = settings.local_port
    if settings.nats_urls:
        yield list(settings.nats_urls)
    elif await is_listening(port):
        yield [f"nats://localhost:{port}"]
    else:
        store = f"{settings.db_path}.jetstream" if settings.durable else ""
        async with local_server(port, store) as url:
            logger.info(
                "started an embedded nats-server: %(url)s (JetStream directory: %(directory)s)",
                url=url,
                directory=store or "none",
            )
            yield [url]


def _metrics(settings: Settings, counts: Callable[[], Counts]) -> AbstractAsyncContextManager[None]:
    if settings.metrics is None:
        return nullcontext()
    try:
        from rosey_dbsvc.monitoring.prometheus import metrics_served
    except ModuleNotFoundError:
        raise InvalidSettings("`metrics` needs a package: pip install prometheus-client") from None
    labels = {"prefix": settings.prefix, "mode": "durable" if settings.durable else "core"}
    return metrics_served(settings.metrics, counts, labels)
