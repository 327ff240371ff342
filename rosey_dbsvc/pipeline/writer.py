"""Group commit: while one batch of events is being committed, the next one gathers.

No timer: an idle service commits a lone event at once, and a busy one commits thousands together.
"""

import logging
from collections.abc import Callable, Sequence
from time import perf_counter_ns, time
from typing import Final, NamedTuple

import anyio
from anyio import CapacityLimiter, to_thread

from rosey_dbsvc._patience import Patience
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.errors import NotADatabase
from rosey_dbsvc.operations.codec import shorten
from rosey_dbsvc.storage import sqlite_errors as faults
from rosey_dbsvc.storage.cursor import Position
from rosey_dbsvc.storage.storage import Outcome, Received, Rejection

logger = logging.getLogger(__name__)

MOST_EVENTS: Final = 200_000
MOST_BYTES: Final = 32 * 1024 * 1024
"""How much gathers before `put` waits."""


class Batch(NamedTuple):
    """Events that are to be one transaction, and how far in the stream they lead, if there is one.

    That may be further than the last of them: what is passed over is done with, too.
    """

    events: Sequence[Received]
    position: Position | None


class Writer:
    """The only one who changes the database.

    `ticket` counts the events taken, and `settled` those of them that are committed or rejected, in
    the same order: whoever has seen `settled` reach a ticket reads what that event wrote. Of events
    that come from a stream, `reached` is the last sequence that is done with in that sense.
    """

    def __init__(
        self,
        apply: Callable[[Sequence[Received], Position | None], Outcome],
        counts: Counts,
        *,
        limiter: CapacityLimiter | None = None,
        most_events: int = MOST_EVENTS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """Take the function that applies a batch; it is called in a thread, one call at a time."""
        self.ticket = 0
        self.settled = 0
        self.reached = 0
        self.failed = False
        """Whether no event will be settled any more."""
        self._apply = apply
        self._counts = counts
        self._limiter = limiter or CapacityLimiter(1)
        self._most_events = most_events
        self._most_bytes = most_bytes
        self._gathered: list[Received] = []
        self._bytes = 0
        self._position: Position | None = None
        self._noted = 0
        self._ended = False
        self._arrived = anyio.Event()
        self._taken = anyio.Event()
        self._progress = anyio.Event()

    async def put(self, received: Received) -> None:
        """Take an event for the next batch; wait while there is no room in it."""
        while len(self._gathered) >= self._most_events or self._bytes >= self._most_bytes:
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
            self._note(received.position)

    def skip(self, position: Position) -> None:
        """Pass over what is at this position in the stream, after the events before it."""
        if not self.failed:
            self._note(position)
            self._arrived.set()

    def _note(self, position: Position) -> None:
        self._position, self._noted = position, position.sequence

    async def begin(self, reached: int) -> None:
        """Begin with a stream, or with another, when all that came before is done with."""
        await self.wait_reached(self._noted)
        self.reached = self._noted = reached

    async def wait_settled(self, ticket: int) -> None:
        """Return when all events up to this ticket are settled, or the writer has failed."""
        while self.settled < ticket and not self.failed:
            await self._progress.wait()

    async def wait_reached(self, sequence: int) -> None:
        """Return when the stream up to this sequence is done with, or the writer has failed."""
        while self.reached < sequence and not self.failed:
            await self._progress.wait()

    def end(self) -> None:
        """Say that no event will follow: `run` returns when all are settled."""
        self._ended = True
        self._arrived.set()

    async def run(self) -> None:
        """Commit batches until the end. Raises NotADatabase if the file is beyond help."""
        try:
            while (batch := await self._take()) is not None:
                await self._commit(batch)
        except NotADatabase:
            self._fail()
            raise

    def _fail(self) -> None:
        # What is pending stays so, and is counted; nobody waits for it any more.
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
        batch = Batch(self._gathered, self._position)
        self._gathered, self._bytes, self._position = [], 0, None
        self._taken.set()
        self._taken = anyio.Event()
        return batch

    async def _commit(self, batch: Batch) -> None:
        patience = Patience("the database takes no events", "the database takes events again")
        events, position = batch
        while True:
            outcome = await self._apply_timed(events, position)
            self._settle(outcome, events[: outcome.settled])
            events = events[outcome.settled :]
            if outcome.obstacle is not None:
                why = faults.describe(outcome.obstacle)
                await patience.wait(why, f" ({self._counts.pending} are waiting)")
            elif not events:
                break
        patience.over()
        if position is not None:
            self.reached = position.sequence
            self._tell()

    async def _apply_timed(self, events: Sequence[Received], position: Position | None) -> Outcome:
        begun = perf_counter_ns()
        outcome = await to_thread.run_sync(self._apply, events, position, limiter=self._limiter)
        passed = perf_counter_ns() - begun
        self._counts.commit_time += passed
        if outcome.settled:
            self._counts.commit_times.observe(passed / 1e9)
        return outcome

    def _settle(self, outcome: Outcome, events: Sequence[Received]) -> None:
        for rejection in outcome.rejections:
            log_rejection(rejection)
            tally = self._counts.operations[rejection.event.name]
            tally.fail(faults.describe(rejection.reason))
        self._counts.rejected += len(outcome.rejections)
        self._counts.applied += outcome.settled - len(outcome.rejections)
        if outcome.settled:
            self._counts.batches += 1
            self._counts.last_commit = now = time()
            self._counts.batch_sizes.observe(outcome.settled)
            now = max(now, events[-1].at)  # another machine's clock may be ahead
            self._counts.event_ages.observe(*[now - event.at for event in events])
        self._counts.pending -= outcome.settled
        self.settled += outcome.settled
        self._tell()

    def _tell(self) -> None:
        self._progress.set()
        self._progress = anyio.Event()


def log_rejection(rejection: Rejection) -> None:
    """Say what the database did not take."""
    logger.error(
        "rejected by the database: %s %s: %s",
        rejection.event.name,
        shorten(str(rejection.event)),
        faults.describe(rejection.reason),
    )
