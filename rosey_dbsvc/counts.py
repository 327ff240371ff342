"""What the service has done so far."""

from dataclasses import dataclass, field

from rosey_dbsvc.contract import OPERATIONS


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
