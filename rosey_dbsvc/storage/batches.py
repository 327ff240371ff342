"""Finding the events at fault in a batch."""

from collections.abc import Callable, Sequence

from rosey_dbsvc.storage import sqlite_errors
from rosey_dbsvc.storage.cursor import Position
from rosey_dbsvc.storage.protocol import Outcome, Received, Rejection

Attempt = Callable[[Sequence[Received], Position | None], Exception | None]
"""Applies a batch as one transaction, and moves the cursor; or returns why nothing was applied."""


def apply_in_halves(
    attempt: Attempt, batch: Sequence[Received], position: Position | None
) -> Outcome:
    """Apply a batch. If an event in it fails, apply its halves, down to that event."""
    outcome = _apply(attempt, batch, position)
    if outcome.rejections and outcome.obstacle is None:
        outcome.obstacle = attempt([], position)  # the last event may be a rejected one
    return outcome


def _apply(attempt: Attempt, batch: Sequence[Received], position: Position | None) -> Outcome:
    error = attempt(batch, position)
    if error is None:
        return Outcome(len(batch))
    if not (batch and sqlite_errors.is_of_event(error)):
        return Outcome(obstacle=error)
    if len(batch) == 1:
        return Outcome(1, [Rejection(batch[0].event, error)])
    half = len(batch) // 2
    first = _apply(attempt, batch[:half], batch[half - 1].position)
    if first.obstacle is not None:
        return first
    second = _apply(attempt, batch[half:], position)
    rejections = first.rejections + second.rejections
    return Outcome(first.settled + second.settled, rejections, second.obstacle)
