"""The counts for those who collect metrics: OpenMetrics over HTTP, with Prometheus's own client."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from rosey_dbsvc.counts import Counts, Histogram
from rosey_dbsvc.discovery import VERSION
from rosey_dbsvc.errors import CannotServeMetrics
from rosey_dbsvc.settings import Address

PREFIX: Final = "rosey_dbsvc"

COUNTERS: Final = {
    "events_applied": ("applied", "Events that are committed."),
    "events_rejected": ("rejected", "Events that were not valid, or that the database refused."),
    "events_abandoned": ("abandoned", "Events that were delivered and lost, at a stop cut short."),
    "messages_dropped": ("dropped", "Messages that NATS's limit kept from the service."),
    "queries_answered": ("answered", "Queries answered with rows."),
    "queries_refused": ("refused", "Queries answered with an error."),
    "queries_stale": ("stale", "Queries answered without the last events of the stream."),
    "batches": ("batches", "Transactions."),
}
GAUGES: Final = {
    "connected": ("connected", "Whether the connection to NATS is there."),
    "events_pending": ("pending", "Events that are taken and not committed yet."),
    "last_commit_timestamp_seconds": ("last_commit", "When the last batch was committed."),
}
HISTOGRAMS: Final = {
    "batch_events": ("batch_sizes", "Events in a transaction."),
    "commit_seconds": ("commit_times", "How long a transaction took."),
    "query_seconds": ("query_times", "From a query to its reply."),
    "event_age_seconds": ("event_ages", "How old events were when they were committed."),
}


class Metrics(Collector):
    """Reads the counts when somebody asks."""

    def __init__(self, counts: Callable[[], Counts], labels: dict[str, str]) -> None:
        """Take what gives the counts, and what tells this service from others."""
        self._counts = counts
        self._labels = {"version": VERSION, **labels}

    def collect(self) -> Iterator[Metric]:
        """Return the counts as Prometheus has them."""
        counts = self._counts()
        yield InfoMetricFamily(PREFIX, "What runs.", self._labels)
        for name, (of, text) in COUNTERS.items():
            yield CounterMetricFamily(f"{PREFIX}_{name}", text, getattr(counts, of))
        for name, (of, text) in GAUGES.items():
            yield GaugeMetricFamily(f"{PREFIX}_{name}", text, float(getattr(counts, of)))
        for name, (of, text) in HISTOGRAMS.items():
            yield _histogram(f"{PREFIX}_{name}", text, getattr(counts, of))
        yield from _by_operation(counts)


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(histogram.buckets), strict=True))
    return HistogramMetricFamily(name, text, buckets, histogram.sum)


def _by_operation(counts: Counts) -> Iterator[Metric]:
    requests = CounterMetricFamily(f"{PREFIX}_requests", "Messages.", labels=["operation"])
    errors = CounterMetricFamily(f"{PREFIX}_errors", "Failures among them.", labels=["operation"])
    for operation, tally in counts.operations.items():
        requests.add_metric([operation], tally.requests)
        errors.add_metric([operation], tally.errors)
    yield requests
    yield errors


@contextmanager
def exposed(
    address: Address, counts: Callable[[], Counts], labels: dict[str, str]
) -> Iterator[str]:
    """Answer scrapes in threads while in the context; yield the URL.

    Raises CannotServeMetrics if the address cannot be listened on.
    """
    registry = CollectorRegistry()
    registry.register(Metrics(counts, labels))
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(address.port, address.host, registry)
    except OSError as error:
        raise CannotServeMetrics(
            f"cannot listen for metrics on {address}: {error.strerror}"
        ) from None
    try:
        yield f"http://{address._replace(port=server.server_port)}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
