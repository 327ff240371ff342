"""What the service has done so far."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from rosey_dbsvc.operations.base import OPERATIONS

SIZES: Final = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
"""Bounds for the number of events in a batch."""
TIMES: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Bounds for what takes a moment, in seconds."""
AGES: Final = (*TIMES, 60, 600, 3_600, 86_400)
"""Bounds for what may have waited in a stream, in seconds."""


class Histogram:
    """How many values there were up to each bound, and above all of them."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        """How many there were up to each bound and above the one before."""
        self.sum = 0.0

    def observe(self, *values: float) -> None:
        """Count the values. Many at a time cost little more than one."""
        ordered, counted = sorted(values), 0
        for bucket, bound in enumerate(self.bounds):
            reached = bisect_right(ordered, bound, counted)
            self.buckets[bucket] += reached - counted
            counted = reached
        self.buckets[-1] += len(ordered) - counted
        self.sum += sum(ordered)


@dataclass(slots=True)
class Tally:
    """What became of the messages of one operation."""

    requests: int = 0
    errors: int = 0
    last_error: str = ""
    processing_time: int = 0
    """In nanoseconds: from a query to its reply. Of an event it is a share of the commits."""

    def fail(self, error: str) -> None:
        """Count an error."""
        self.errors += 1
        self.last_error = error


def _tallies() -> dict[str, Tally]:
    return {operation.name: Tally() for operation in OPERATIONS}


@dataclass(slots=True)
class Counts:
    """Plain numbers since the start of the service, kept on the event loop."""

    connected: bool = False
    """Whether the connection, if it is our own, is there."""
    pending: int = 0
    """Events that are taken, and neither committed nor rejected yet."""
    applied: int = 0
    """Events that are committed."""
    rejected: int = 0
    """Events that were not valid, or that the database did not take."""
    answered: int = 0
    """Queries answered with rows."""
    stale: int = 0
    """Queries answered with fewer events than the stream had."""
    refused: int = 0
    """Queries answered with an error."""
    dropped: int = 0
    """Messages that NATS's own limit kept from the service: it could not read as fast."""
    expired: int = 0
    """Events that the stream let go before they were read."""
    batches: int = 0
    """Transactions."""
    abandoned: int = 0
    """Events that were delivered, and not applied when the time to stop was over."""
    last_commit: float = 0.0
    """When the last batch was settled, in Unix seconds; 0 if none was."""
    commit_time: int = 0
    """How long batches took, in nanoseconds."""
    operations: dict[str, Tally] = field(default_factory=_tallies)
    """The same by operation."""
    batch_sizes: Histogram = field(default_factory=lambda: Histogram(SIZES))
    """Events in a transaction."""
    commit_times: Histogram = field(default_factory=lambda: Histogram(TIMES))
    """How long a transaction took, in seconds."""
    query_times: Histogram = field(default_factory=lambda: Histogram(TIMES))
    """From a query to its reply, in seconds."""
    event_ages: Histogram = field(default_factory=lambda: Histogram(AGES))
    """From when an event came, or was stored by the stream, to its commit, in seconds."""
