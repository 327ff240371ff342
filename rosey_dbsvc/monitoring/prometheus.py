"""The counts for those who collect metrics: OpenMetrics over HTTP, with Prometheus's own client."""

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from threading import Thread
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from rosey_dbsvc.counters import Counts, Histogram
from rosey_dbsvc.errors import CannotServeMetrics
from rosey_dbsvc.monitoring.discovery import VERSION
from rosey_dbsvc.settings import Address

logger = logging.getLogger(__name__)

PREFIX: Final = "rosey_dbsvc"

COUNTERS: Final = {
    "events_applied": ("applied", "Events that are committed."),
    "events_rejected": ("rejected", "Events that were not valid, or that the database refused."),
    "events_abandoned": ("abandoned", "Events that were delivered and lost, at a stop cut short."),
    "events_expired": ("expired", "Events that the stream let go before they were read."),
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


class Handler(WSGIRequestHandler):
    """Answers one request, of somebody who may be slow, or nobody."""

    timeout = 5
    """How long it waits for the next bytes, in seconds."""

    def log_message(self, *_: object) -> None:
        """Leave the log to the service."""


class Server(WSGIServer):
    """Answers one after the other: a crowd takes each other's time, and no threads and files."""

    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[Handler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def handle_error(self, _request: object, client_address: Any) -> None:  # noqa: ANN401
        """Go on: who asked has gone, or said nothing."""
        logger.debug("metrics were not given to %s", client_address)


@contextmanager
def exposed(
    address: Address, counts: Callable[[], Counts], labels: dict[str, str]
) -> Iterator[str]:
    """Answer scrapes in a thread while in the context; yield the URL.

    Raises CannotServeMetrics if the address cannot be listened on.
    """
    registry = CollectorRegistry()
    registry.register(Metrics(counts, labels))
    ProcessCollector(registry=registry)
    try:
        server = Server(address, Handler)
    except OSError as error:
        raise CannotServeMetrics(
            f"cannot listen for metrics on {address}: {error.strerror}"
        ) from None
    server.set_app(make_wsgi_app(registry))
    thread = Thread(target=server.serve_forever, name="metrics")
    thread.start()
    try:
        yield f"http://{address._replace(port=server.server_port)}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
