"""Group commit: while one batch of events is being committed, the next one gathers.

No timer: an idle service commits a lone event at once, and a busy one commits thousands together.
"""

import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

import anyio
from anyio import CapacityLimiter, to_thread

from rosey_dbsvc import faults
from rosey_dbsvc.codec import shorten
from rosey_dbsvc.counts import Counts
from rosey_dbsvc.errors import NotADatabase
from rosey_dbsvc.storage import Outcome, Received, Rejection

logger = logging.getLogger(__name__)

MOST_EVENTS: Final = 200_000
MOST_BYTES: Final = 32 * 1024 * 1024
"""How much gathers before `put` waits."""

FIRST_DELAY: Final = 0.05
LONGEST_DELAY: Final = 2.0
"""Between two tries of a batch that the database cannot take now, in seconds."""
SAID_EVERY: Final = 10.0
"""How often the log says that it still cannot, in seconds."""


class Writer:
    """The only one who changes the database.

    `ticket` counts the events taken, and `settled` those of them that are committed or rejected, in
    the same order: whoever has seen `settled` reach a ticket reads what that event wrote.
    """

    def __init__(
        self,
        apply: Callable[[Sequence[Received]], Outcome],
        counts: Counts,
        *,
        limiter: CapacityLimiter | None = None,
        most_events: int = MOST_EVENTS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """Take the function that applies a batch; it is called in a thread, one call at a time."""
        self.ticket = 0
        self.settled = 0
        self.failed = False
        """Whether no event will be settled any more."""
        self._apply = apply
        self._counts = counts
        self._limiter = limiter or CapacityLimiter(1)
        self._most_events = most_events
        self._most_bytes = most_bytes
        self._gathered: list[Received] = []
        self._bytes = 0
        self._ended = False
        self._arrived = anyio.Event()
        self._taken = anyio.Event()
        self._progress = anyio.Event()

    @property
    def pending(self) -> int:
        """How many events are taken and not settled."""
        return self.ticket - self.settled

    async def put(self, received: Received) -> None:
        """Take an event for the next batch; wait while there is no room in it."""
        while len(self._gathered) >= self._most_events or self._bytes >= self._most_bytes:
            await self._taken.wait()
        if self.failed:
            self.ticket += 1
            return
        if not self._gathered:
            self._arrived.set()
        self._gathered.append(received)
        self._bytes += received.size
        self.ticket += 1

    async def wait_settled(self, ticket: int) -> None:
        """Return when all events up to this ticket are settled, or the writer has failed."""
        while self.settled < ticket and not self.failed:
            await self._progress.wait()

    def end(self) -> None:
        """Say that no event will follow: `run` returns when all are settled."""
        self._ended = True
        self._arrived.set()

    async def run(self) -> None:
        """Commit batches until the end. Raises NotADatabase if the file is beyond help."""
        try:
            while batch := await self._take():
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

    async def _take(self) -> list[Received]:
        while not self._gathered and not self._ended:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        batch, self._gathered, self._bytes = self._gathered, [], 0
        self._taken.set()
        self._taken = anyio.Event()
        return batch

    async def _commit(self, batch: Sequence[Received]) -> None:
        patience = Patience()
        while batch:
            outcome = await to_thread.run_sync(self._apply, batch, limiter=self._limiter)
            self._settle(outcome)
            batch = batch[outcome.settled :]
            if outcome.obstacle is not None:
                await patience.wait(outcome.obstacle, self.pending)
        patience.over()

    def _settle(self, outcome: Outcome) -> None:
        for rejection in outcome.rejections:
            log_rejection(rejection)
        self._counts.rejected += len(outcome.rejections)
        self._counts.applied += outcome.settled - len(outcome.rejections)
        self._counts.batches += bool(outcome.settled)
        self.settled += outcome.settled
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


class Patience:
    """The wait for a database that cannot take events now: longer each time, and said at times."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._said = 0.0
        self._delay = FIRST_DELAY

    async def wait(self, obstacle: Exception, pending: int) -> None:
        """Wait before the next try."""
        now = monotonic()
        if self._since is None:
            self._since = now
        if not self._said or now - self._said >= SAID_EVERY:
            self._said = now
            logger.warning(
                "the database takes no events, trying again, %d are waiting: %s",
                pending,
                faults.describe(obstacle),
            )
        await anyio.sleep(self._delay)
        self._delay = min(2 * self._delay, LONGEST_DELAY)

    def over(self) -> None:
        """Say that the database takes events again, if it did not."""
        if self._since is not None:
            logger.info("the database takes events again, after %.1f s", monotonic() - self._since)
