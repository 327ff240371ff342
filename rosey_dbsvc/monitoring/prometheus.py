"""Prometheus metrics, served over HTTP by prometheus_client."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, core, start_http_server
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from rosey_dbsvc._aio import in_thread
from rosey_dbsvc._text import Logger
from rosey_dbsvc.counters import Counts, Histogram
from rosey_dbsvc.errors import CannotServeMetrics
from rosey_dbsvc.monitoring.adr32 import VERSION
from rosey_dbsvc.settings import Address

logger = Logger(__name__)

PREFIX: Final = "rosey_dbsvc"

COUNTERS: Final = {
    "events_applied": ("applied", "Events committed."),
    "events_rejected": ("rejected", "Events that were invalid, or refused by the database."),
    "events_abandoned": ("abandoned", "Events lost because a stop timed out."),
    "events_expired": ("expired", "Events that the stream deleted before they were read."),
    "messages_dropped": ("dropped", "Messages that arrived faster than they were read."),
    "queries_answered": ("answered", "Queries answered with rows."),
    "queries_refused": ("refused", "Queries answered with an error."),
    "queries_stale": ("stale", "Queries answered while the database was behind the stream."),
    "batches": ("batches", "Transactions."),
}
GAUGES: Final = {
    "connected": ("connected", "Whether the service is connected to NATS."),
    "events_pending": ("pending", "Events received and not yet committed."),
    "last_commit_timestamp_seconds": ("last_commit", "Time of the last commit."),
}
HISTOGRAMS: Final = {
    "batch_events": ("batch_sizes", "Events in a transaction."),
    "commit_seconds": ("commit_times", "Duration of a transaction."),
    "query_seconds": ("query_times", "Time from query to reply."),
    "event_age_seconds": ("event_ages", "Age of events at their commit."),
}


class CountsCollector(Collector):
    """Reads the counters of a service at each scrape."""

    def __init__(self, counts: Callable[[], Counts], labels: dict[str, str]) -> None:
        """Take a function that returns the counters, and labels that identify the service."""
        self._counts = counts
        self._labels = {"version": VERSION, **labels}

    def collect(self) -> Iterator[core.Metric]:
        """Yield all metrics."""
        counts = self._counts()
        yield core.InfoMetricFamily(PREFIX, "Version and mode.", self._labels)
        for name, (attribute, text) in COUNTERS.items():
            yield core.CounterMetricFamily(f"{PREFIX}_{name}", text, getattr(counts, attribute))
        for name, (attribute, text) in GAUGES.items():
            yield core.GaugeMetricFamily(
                f"{PREFIX}_{name}", text, float(getattr(counts, attribute))
            )
        for name, (attribute, text) in HISTOGRAMS.items():
            yield _histogram(f"{PREFIX}_{name}", text, getattr(counts, attribute))
        yield from _by_operation(counts)


def _histogram(name: str, text: str, histogram: Histogram) -> core.Metric:
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(histogram.buckets), strict=True))
    return core.HistogramMetricFamily(name, text, buckets, histogram.sum)


def _by_operation(counts: Counts) -> Iterator[core.Metric]:
    requests = core.CounterMetricFamily(f"{PREFIX}_requests", "Messages.", labels=["operation"])
    errors = core.CounterMetricFamily(f"{PREFIX}_errors", "Failed messages.", labels=["operation"])
    for name, operation in counts.operations.items():
        requests.add_metric([name], operation.requests)
        errors.add_metric([name], operation.errors)
    yield requests
    yield errors


@asynccontextmanager
async def metrics_served(
    address: Address, counts: Callable[[], Counts], labels: dict[str, str]
) -> AsyncIterator[None]:
    """Serve metrics on an address while in the context. Raises CannotServeMetrics."""
    async with in_thread(_http_server(address, counts, labels)) as port:
        url = f"http://{address._replace(port=port)}/metrics"
        logger.info("serving metrics at %(url)s", url=url)
        yield


@contextmanager
def _http_server(
    address: Address, counts: Callable[[], Counts], labels: dict[str, str]
) -> Iterator[int]:
    registry = CollectorRegistry()
    registry.register(CountsCollector(counts, labels))
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(address.port, address.host, registry)
    except (OSError, UnicodeError) as error:  # UnicodeError for a host with an empty label
        reason = getattr(error, "strerror", None) or str(error)
        raise CannotServeMetrics(f"cannot serve metrics on {address}: {reason}") from None
    server.handle_error = _log_client_error  # type: ignore[method-assign]  # it prints
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _log_client_error(request: object, client_address: object) -> None:  # noqa: ARG001
    logger.debug("a scrape failed: %(client)s", client=client_address)
