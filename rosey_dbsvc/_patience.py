"""The wait for what is not to be had now: longer each time, and said at times."""

import logging
from time import monotonic
from typing import Final

import anyio

logger = logging.getLogger(__name__)

FIRST_DELAY: Final = 0.05
LONGEST_DELAY: Final = 2.0
"""Between two tries, in seconds."""
SAID_EVERY: Final = 10.0
"""How often the log says for the same reason that it still cannot be had, in seconds."""


class Patience:
    """For one thing, from the first failure to the next success."""

    def __init__(self, problem: str, relief: str) -> None:
        """Take what the log is to say while it lasts, and when it is over."""
        self._problem = problem
        self._relief = relief
        self._since: float | None = None
        self._said: dict[str, float] = {}
        self._delay = FIRST_DELAY

    async def wait(self, why: str, detail: str = "") -> None:
        """Wait before the next try."""
        now = monotonic()
        if self._since is None:
            self._since = now
        if now - self._said.get(why, -SAID_EVERY) >= SAID_EVERY:
            self._said[why] = now
            logger.warning("%s, trying again: %s%s", self._problem, why, detail)
        await anyio.sleep(self._delay)
        self._delay = min(2 * self._delay, LONGEST_DELAY)

    def over(self) -> None:
        """Say that it is to be had again, if it was not."""
        if self._since is not None:
            logger.info("%s, after %.1f s", self._relief, monotonic() - self._since)
            self._since, self._said, self._delay = None, {}, FIRST_DELAY
