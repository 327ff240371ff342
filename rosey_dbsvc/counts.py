"""What the service has done so far."""

from dataclasses import dataclass


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
