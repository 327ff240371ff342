"""What a query waits for, so that it sees what was published before it."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol

import anyio
from nats.aio.client import Client

from rosey_dbsvc._patience import Patience
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.errors import DatabaseFailed
from rosey_dbsvc.messaging import stream_probe as question
from rosey_dbsvc.messaging.connection import GONE
from rosey_dbsvc.operations.codec import STALE
from rosey_dbsvc.pipeline.writer import Writer

PATIENCE: Final = 5.0
"""How long a query waits for the events before it to be committed, in seconds."""

MOST_BEHIND: Final = 1.0
"""How long it waits for the database to come up with the stream, in seconds."""

UNKNOWN: Final = "unknown"

Headers = dict[str, str]
Wait = Callable[[], Awaitable[Headers | None]]


class Freshness(Protocol):
    """How queries get to see the events before them."""

    def from_now(self) -> Wait:
        """Return what a query that comes now has to wait for.

        That gives headers for its reply, if there is something to say. It may raise DatabaseFailed.
        """


class Delivered:
    """Lets queries wait until the events that were delivered before them are committed."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def from_now(self) -> Wait:
        """Return the wait for the events that the writer has by now."""
        return partial(self._wait, self._writer.ticket)

    async def _wait(self, ticket: int) -> None:
        if self._writer.settled >= ticket:
            return
        with anyio.move_on_after(PATIENCE):
            await self._writer.wait_settled(ticket)
        if self._writer.settled < ticket:
            raise DatabaseFailed("the database takes no events now")


class Horizon:
    """Lets queries wait until the database has what the stream had when they came.

    In a cluster, what a bot has published and what it asks afterwards may come by different ways,
    if the bot, the stream and this service are each on another server. It is asked twice to give
    the event time; nothing rules out that this is not enough.
    """

    def __init__(
        self,
        nc: Client,
        prefix: str,
        stream: str,
        writer: Writer,
        counts: Counts,
        clustered: bool,
    ) -> None:
        self._nc = nc
        self._subject = question.subject(prefix)
        self._headers = question.headers(stream)
        self._writer = writer
        self._counts = counts
        self._times = 2 if clustered else 1
        self._patience = Patience(
            f"the stream {stream} does not say how far it is", f"the stream {stream} says it again"
        )
        self._asking = anyio.Lock()
        self._asked = 0
        self._last: int | None = None

    def from_now(self) -> Wait:
        """Return the wait for the stream; it gives a header when it has been long enough."""
        return self._wait

    async def _wait(self) -> Headers | None:
        last: int | None = None
        with anyio.move_on_after(MOST_BEHIND):
            last = await self._ask()
            await self._writer.wait_reached(last)
        if last is not None and self._writer.reached >= last:
            return None
        self._counts.stale += 1
        return {STALE: UNKNOWN if last is None else str(last - self._writer.reached)}

    async def _ask(self) -> int:
        """Return the stream's last sequence. One question does for all who came before it."""
        before = self._asked
        async with self._asking:
            while self._asked == before or self._last is None:
                self._asked, self._last = self._asked + 1, None
                reached = self._writer.reached
                for _ in range(self._times):
                    last = await self._question()
                if last is None:
                    await self._patience.wait("nobody answers for it")
                elif last < reached:  # another stream of that name, or it has lost its end
                    await self._patience.wait(f"it ends at {last}, and {reached} was read of it")
                else:
                    self._last = last
            self._patience.over()
            return self._last

    async def _question(self) -> int | None:
        try:
            reply = await self._nc.request(
                self._subject, question.QUESTION, timeout=MOST_BEHIND, headers=self._headers
            )
        except GONE:
            return None
        return question.read_answer(reply.data)
