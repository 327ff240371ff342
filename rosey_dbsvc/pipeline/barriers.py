"""Read-your-writes barriers: what a query waits for before it is answered."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import anyio
from nats.aio.client import Client

from rosey_dbsvc._aio import Backoff
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.errors import DatabaseFailed
from rosey_dbsvc.messaging import stream_probe
from rosey_dbsvc.messaging.nats_private import CONNECTION_ERRORS
from rosey_dbsvc.operations.codec import STALE
from rosey_dbsvc.pipeline.writer import Writer

COMMIT_TIMEOUT: Final = 5.0
"""Time that a query waits for the commit of the events before it, in seconds."""
STREAM_TIMEOUT: Final = 1.0
"""Time that a query waits for the database to catch up with the stream, in seconds."""
UNKNOWN: Final = "unknown"

Headers = dict[str, str]
Wait = Callable[[], Awaitable[Headers | None]]
"""Waits, and returns headers for the reply, or None. May raise DatabaseFailed."""


class CommitBarrier:
    """Core mode: waits for the commit of the events that were delivered before the query."""

    def __init__(self, writer: Writer, timeout: float = COMMIT_TIMEOUT) -> None:
        self._writer = writer
        self._timeout = timeout

    def from_now(self) -> Wait:
        """Return the wait for the events that the writer has now."""
        return partial(self._wait, self._writer.ticket)

    async def _wait(self, ticket: int) -> None:
        if self._writer.settled >= ticket:
            return
        with anyio.move_on_after(self._timeout):
            await self._writer.wait_settled(ticket)
        if self._writer.settled < ticket:
            raise DatabaseFailed("the database cannot commit at the moment")


class StreamBarrier:
    """Durable mode: waits until the database has what the stream had when the query came.

    In a cluster, an event and the query after it may take different ways, if the bot, the stream
    and this service use different servers. There the stream is probed twice, which gives the event
    time to arrive; it is no guarantee.
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
        self._subject = stream_probe.subject(prefix)
        self._headers = stream_probe.headers(stream)
        self._writer = writer
        self._counts = counts
        self._probes = 2 if clustered else 1
        self._backoff = Backoff(
            f"no reply to a probe of the stream {stream}", f"the stream {stream} replies again"
        )
        self._lock = anyio.Lock()
        self._round = 0
        self._last: int | None = None

    def from_now(self) -> Wait:
        """Return the wait for the stream. After a time-out it returns the header `Rosey-Stale`."""
        return self._wait

    async def _wait(self) -> Headers | None:
        last: int | None = None
        with anyio.move_on_after(STREAM_TIMEOUT):
            last = await self._last_sequence()
            await self._writer.wait_reached(last)
        if last is not None and self._writer.reached >= last:
            return None
        self._counts.stale += 1
        return {STALE: UNKNOWN if last is None else str(last - self._writer.reached)}

    async def _last_sequence(self) -> int:
        """Return the last sequence of the stream. One probe serves all queries before it."""
        before = self._round
        async with self._lock:
            while self._round == before or self._last is None:
                self._round, self._last = self._round + 1, None
                reached = self._writer.reached
                for _ in range(self._probes):
                    last = await self._probe()
                if last is None:
                    await self._backoff.wait("time-out")
                elif last < reached:  # another stream with its name, or it lost its end
                    await self._backoff.wait(f"it ends at {last}, but {reached} was read")
                else:
                    self._last = last
            self._backoff.succeeded()
            return self._last

    async def _probe(self) -> int | None:
        try:
            reply = await self._nc.request(
                self._subject, stream_probe.PAYLOAD, timeout=STREAM_TIMEOUT, headers=self._headers
            )
        except CONNECTION_ERRORS:
            return None
        return stream_probe.last_sequence(reply.data)


Barrier = CommitBarrier | StreamBarrier
