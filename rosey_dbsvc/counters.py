"""Counters and histograms of a running service."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from rosey_dbsvc.operations import OPERATIONS

BATCH_BOUNDS: Final = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
"""Bucket bounds for events in a batch."""
TIME_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Bucket bounds for durations, in seconds."""
AGE_BOUNDS: Final = (*TIME_BOUNDS, 60, 600, 3_600, 86_400)
"""Bucket bounds for ages of events, which may have been in a stream, in seconds."""


class Histogram:
    """Number of values in each bucket. The last bucket has no bound."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        """Number of values up to each bound and above the one before."""
        self.sum = 0.0

    def observe(self, *values: float) -> None:
        """Count values. Many in one call cost little more than one."""
        ordered, counted = sorted(values), 0
        for bucket, bound in enumerate(self.bounds):
            reached = bisect_right(ordered, bound, counted)
            self.buckets[bucket] += reached - counted
            counted = reached
        self.buckets[-1] += len(ordered) - counted
        self.sum += sum(ordered)


@dataclass(slots=True)
class OperationCounts:
    """Counters of one operation."""

    requests: int = 0
    errors: int = 0
    last_error: str = ""
    processing_time: int = 0
    """Time from query to reply, in nanoseconds. Events have a share of `Counts.commit_time`."""

    def fail(self, error: str) -> None:
        """Count an error."""
        self.errors += 1
        self.last_error = error


def _by_operation() -> dict[str, OperationCounts]:
    return {operation.name: OperationCounts() for operation in OPERATIONS}


@dataclass(slots=True)
class Counts:
    """Counters since the start of the service. Changed on the event loop only."""

    connected: bool = False
    """Whether the service is connected to NATS, if the connection is its own."""
    pending: int = 0
    """Events received and not yet committed or rejected."""
    applied: int = 0
    """Events committed."""
    rejected: int = 0
    """Events that were invalid, or that the database refused."""
    answered: int = 0
    """Queries answered with rows."""
    stale: int = 0
    """Queries answered while the database was behind the stream."""
    refused: int = 0
    """Queries answered with an error."""
    dropped: int = 0
    """Messages dropped by nats-py, because they arrived faster than they were read."""
    expired: int = 0
    """Events that the stream deleted before they were read."""
    batches: int = 0
    """Transactions."""
    abandoned: int = 0
    """Events delivered and not applied before the stop timed out."""
    last_commit: float = 0.0
    """Time of the last commit, in Unix seconds; 0 before the first."""
    commit_time: int = 0
    """Total duration of all commits, in nanoseconds."""
    operations: dict[str, OperationCounts] = field(default_factory=_by_operation)
    """Counters by name of the operation."""
    batch_sizes: Histogram = field(default_factory=lambda: Histogram(BATCH_BOUNDS))
    """Events in a transaction."""
    commit_times: Histogram = field(default_factory=lambda: Histogram(TIME_BOUNDS))
    """Duration of a transaction, in seconds."""
    query_times: Histogram = field(default_factory=lambda: Histogram(TIME_BOUNDS))
    """Time from query to reply, in seconds."""
    event_ages: Histogram = field(default_factory=lambda: Histogram(AGE_BOUNDS))
    """Time from receiving an event, or storing it in the stream, to its commit, in seconds."""
