"""Helpers for AnyIO: work until an event, contexts in threads, back-off, throttled logs."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from time import monotonic
from typing import Final, TypeVar

import anyio
from anyio import CancelScope, Event, to_thread

from rosey_dbsvc._text import Logger

logger = Logger(__name__)

FIRST_DELAY: Final = 0.05
LONGEST_DELAY: Final = 2.0
LOG_INTERVAL: Final = 10.0  # shortest time between two log lines of the same kind, in seconds

T = TypeVar("T")


async def run_until(event: Event, work: Callable[[], Awaitable[object]]) -> None:
    """Run the work; cancel it and return when the event is set first."""

    async def cancel_when_set() -> None:
        await event.wait()
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel_when_set, name="cancel when set")
        await work()
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def in_thread(context: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a blocking context in a worker thread. Leaving is shielded."""
    value = await to_thread.run_sync(context.__enter__)
    try:
        yield value
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(context.__exit__, None, None, None)


class LogThrottle:
    """Limits log lines of one kind to one per interval, given in seconds."""

    def __init__(self, interval: float = LOG_INTERVAL) -> None:
        self._interval = interval
        self._last: dict[str, float] = {}

    def allows(self, kind: str = "") -> bool:
        """Return whether a line of this kind is due; if so, count it as logged."""
        now = monotonic()
        if now - self._last.get(kind, -self._interval) < self._interval:
            return False
        self._last[kind] = now
        return True

    def warning(self, message: str, **fields: object) -> None:
        """Log a warning, unless one with the same message was logged within the interval."""
        if self.allows(message):
            logger.log(logging.WARNING, message, **fields)


class Backoff:
    """Exponential back-off that logs the problem at most every 10 s, and the recovery."""

    def __init__(
        self,
        problem: str,
        recovery: str,
        *,
        first_delay: float = FIRST_DELAY,
        longest_delay: float = LONGEST_DELAY,
    ) -> None:
        """Take both log messages, and the bounds of the delay in seconds."""
        self._problem = problem
        self._recovery = recovery
        self._first_delay = first_delay
        self._longest_delay = longest_delay
        self.reset()

    def reset(self) -> None:
        """Begin with the first delay again."""
        self._since: float | None = None
        self._throttle = LogThrottle()
        self._delay = self._first_delay

    async def wait(self, reason: str, detail: str = "") -> None:
        """Log the problem with its reason, and sleep before the next attempt."""
        self._since = self._since or monotonic()
        if self._throttle.allows(reason):
            logger.warning(
                "%(problem)s, retrying: %(reason)s%(detail)s",
                problem=self._problem,
                reason=reason,
                detail=detail,
            )
        await anyio.sleep(self._delay)
        self._delay = min(2 * self._delay, self._longest_delay)

    def succeeded(self) -> None:
        """Log the recovery, if there was a problem."""
        if self._since is not None:
            logger.info(
                "%(recovery)s after %(seconds).1f s",
                recovery=self._recovery,
                seconds=monotonic() - self._since,
            )
            self.reset()
