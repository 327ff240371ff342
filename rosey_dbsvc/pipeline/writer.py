"""Group commit: while one batch of events is committed, the next one gathers.

There is no timer: an idle service commits a single event at once, a busy one thousands together.
"""

from collections.abc import Callable, Sequence
from time import perf_counter_ns, time
from typing import Final

import anyio
from anyio import CapacityLimiter, to_thread

from rosey_dbsvc._aio import Backoff
from rosey_dbsvc._text import Logger, describe, shorten
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.errors import NotADatabase
from rosey_dbsvc.storage.cursor import Position
from rosey_dbsvc.storage.protocol import Outcome, Received, Rejection

logger = Logger(__name__)

MAX_EVENTS: Final = 200_000
MAX_BYTES: Final = 32 * 1024 * 1024  # limits of the gathering batch; at them, `put` waits


Batch = tuple[Sequence[Received], Position | None]
"""Events for one transaction, and the position in the stream after them and what was skipped."""


class Writer:
    """Applies all events to the database, in order.

    `ticket` is the number of events taken, `settled` the number of those committed or rejected.
    Whoever sees `settled` reach a ticket reads what that event wrote. `reached` is the last
    sequence of the stream that is settled.
    """

    def __init__(
        self,
        apply: Callable[[Sequence[Received], Position | None], Outcome],
        counts: Counts,
        *,
        limiter: CapacityLimiter | None = None,
        max_events: int = MAX_EVENTS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Take `Storage.apply`, which is called in a thread, one call at a time."""
        self.ticket = 0
        self.settled = 0
        self.reached = 0
        self.failed = False
        """Whether the database is unusable, so that no more events are settled."""
        self._apply = apply
        self._counts = counts
        self._limiter = limiter or CapacityLimiter(1)
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._gathered: list[Received] = []
        self._bytes = 0
        self._position: Position | None = None
        self._last_sequence = 0
        self._ended = False
        self._backoff = Backoff("cannot commit", "commits work again")
        self._arrived = anyio.Event()
        self._taken = anyio.Event()
        self._progress = anyio.Event()

    async def put(self, received: Received) -> None:
        """Add an event to the next batch; wait while that is full."""
        while len(self._gathered) >= self._max_events or self._bytes >= self._max_bytes:
            await self._taken.wait()
        self.ticket += 1
        self._counts.pending += 1
        if self.failed:
            return
        if not self._gathered:
            self._arrived.set()
        self._gathered.append(received)
        self._bytes += received.size
        if received.position is not None:
            self._set_position(received.position)

    def skip(self, position: Position) -> None:
        """Skip a message of the stream, after the events before it."""
        if not self.failed:
            self._set_position(position)
            self._arrived.set()

    def _set_position(self, position: Position) -> None:
        self._position, self._last_sequence = position, position.sequence

    async def begin(self, reached: int) -> None:
        """Wait until all events are settled; then continue at another sequence."""
        await self.wait_reached(self._last_sequence)
        self.reached = self._last_sequence = reached

    async def wait_settled(self, ticket: int) -> None:
        """Wait until all events up to a ticket are settled, or the writer has failed."""
        while self.settled < ticket and not self.failed:
            await self._progress.wait()

    async def wait_reached(self, sequence: int) -> None:
        """Wait until the stream up to a sequence is settled, or the writer has failed."""
        while self.reached < sequence and not self.failed:
            await self._progress.wait()

    def end(self) -> None:
        """Let `run` return when all events are settled."""
        self._ended = True
        self._arrived.set()

    async def run(self) -> None:
        """Commit batches until `end`. Raises NotADatabase."""
        try:
            while (batch := await self._take()) is not None:
                await self._commit(batch)
        except NotADatabase:
            self._fail()
            raise

    def _fail(self) -> None:
        # Pending events stay counted as pending; waiters are released.
        self.failed = True
        self._gathered, self._bytes = [], 0
        self._taken.set()
        self._progress.set()

    async def _take(self) -> Batch | None:
        while not (self._gathered or self._position or self._ended):
            self._arrived = anyio.Event()
            await self._arrived.wait()
        if not (self._gathered or self._position):
            return None
        batch = (self._gathered, self._position)
        self._gathered, self._bytes, self._position = [], 0, None
        self._taken.set()
        self._taken = anyio.Event()
        return batch

    async def _commit(self, batch: Batch) -> None:
        events, position = batch
        while True:
            outcome = await self._apply_timed(events, position)
            self._settle(outcome, events[: outcome.settled])
            events = events[outcome.settled :]
            if outcome.obstacle is not None:
                outcome.raise_if_fatal()
                queued = f" ({self._counts.pending:,} events queued)"
                await self._backoff.wait(describe(outcome.obstacle), queued)
            elif not events:
                break
        self._backoff.succeeded()
        if position is not None:
            self.reached = position.sequence
            self._notify()

    async def _apply_timed(self, events: Sequence[Received], position: Position | None) -> Outcome:
        begun = perf_counter_ns()
        outcome = await to_thread.run_sync(self._apply, events, position, limiter=self._limiter)
        passed = perf_counter_ns() - begun
        self._counts.commit_time += passed
        if outcome.settled:
            self._counts.commit_times.observe(passed / 1e9)
        return outcome

    def _settle(self, outcome: Outcome, events: Sequence[Received]) -> None:
        counts = self._counts
        for rejection in outcome.rejections:
            _log_rejection(rejection)
            counts.operations[rejection.event.name].fail(describe(rejection.reason))
        counts.rejected += len(outcome.rejections)
        counts.applied += outcome.settled - len(outcome.rejections)
        if outcome.settled:
            counts.batches += 1
            counts.last_commit = now = time()
            counts.batch_sizes.observe(outcome.settled)
            now = max(now, events[-1].at)  # the clock of the stream's server may be ahead
            counts.event_ages.observe(*[now - event.at for event in events])
        counts.pending -= outcome.settled
        self.settled += outcome.settled
        self._notify()

    def _notify(self) -> None:
        self._progress.set()
        self._progress = anyio.Event()


def _log_rejection(rejection: Rejection) -> None:
    logger.error(
        "rejected by the database: %(operation)s %(payload)s: %(reason)s",
        operation=rejection.event.name,
        payload=shorten(str(rejection.event)),
        reason=describe(rejection.reason),
    )
