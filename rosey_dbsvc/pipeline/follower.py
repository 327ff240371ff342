"""Follows a stream from the position of the database."""

from datetime import UTC, datetime
from typing import Final

import anyio
from nats.aio.client import Client

from rosey_dbsvc import errors
from rosey_dbsvc._aio import Backoff, LogThrottle
from rosey_dbsvc._text import Logger
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.messaging import stream_reader
from rosey_dbsvc.messaging.stream import Stream, StreamState
from rosey_dbsvc.pipeline.dispatcher import Dispatcher
from rosey_dbsvc.pipeline.writer import Writer
from rosey_dbsvc.storage.cursor import BEGINNING, Cursor, Position

logger = Logger(__name__)

TRANSIENT: Final = (
    stream_reader.StreamInterrupted,
    errors.Unavailable,
    errors.NoJetStream,
    errors.StreamRefused,
)
"""Errors to retry after, once the stream was read."""
SHORT_TIMEOUT: Final = 5.0
"""Time for which a stream may be shorter than before: a new leader catches up. In seconds."""
QUIET_HEARTBEATS: Final = 3
"""Heartbeats without a message, after which missing messages are taken for deleted."""
POLL_INTERVAL: Final = 30.0  # time between two looks at the state of a quiet stream, in seconds


class Follower:
    """Passes on the events of a stream, each once and in order, across consumers and servers.

    It may be cancelled at any time: what is not in the database is still in the stream.
    """

    def __init__(
        self,
        nc: Client,
        stream: Stream,
        cursor: Cursor,
        writer: Writer,
        dispatcher: Dispatcher,
        counts: Counts,
    ) -> None:
        self.begun = anyio.Event()
        """Set when `target` is known."""
        self.target = 0
        """Last sequence of the stream at the begin."""
        self.clustered = False
        """Whether a cluster of servers stores the stream."""
        self._nc = nc
        self._stream = stream
        self._cursor = cursor
        self._writer = writer
        self._dispatcher = dispatcher
        self._counts = counts
        self._position = cursor.position
        self._is_fresh = not cursor.created
        self._created = ""
        self._since = ""
        """Time to read from, in place of the position, after the stream lost its end."""
        self._last = 0
        self._polled_at = 0.0
        self._heartbeats = 0
        self._short_since: float | None = None
        self._expired = 0
        self._throttle = LogThrottle()
        self._backoff = Backoff(
            f"cannot read the stream {stream.name}", f"reading the stream {stream.name} again"
        )

    async def run(self) -> None:
        """Follow until cancelled.

        Raises StreamDiffers, StreamRefused, CannotOpen or ConnectionLost, and later StreamChanged.
        """
        try:
            while True:
                await self._attempt()
        except errors.StreamDiffers as error:
            if self.begun.is_set():
                raise errors.StreamChanged(str(error)) from None
            raise
        finally:
            self._log_expired()

    async def _attempt(self) -> None:
        try:
            await self._poll()
            await self._read()
        except TRANSIENT as error:
            if isinstance(error, errors.StreamRefused | errors.NoJetStream) and not self._created:
                raise
            await self._backoff.wait(str(error))

    async def _poll(self) -> None:
        """Compare the state of the stream with the cursor."""
        state = await self._stream.state()
        self._last, self._polled_at, self._heartbeats = state.last, anyio.current_time(), 0
        self.clustered = state.clustered
        if state.created != self._created:
            await self._identify(state)
        if state.last < self._position.sequence:
            await self._handle_short(state)
        elif self._position.sequence < state.first - 1 and not self._since:
            self._pass_over(state.first - 1)
        self._short_since = None
        self.target = min(self.target, state.last)  # it may be another by now, or shorter
        if not self.begun.is_set():
            self.target = state.last
            self._log_begin()
            self.begun.set()

    async def _identify(self, state: StreamState) -> None:
        """Continue in the stream of the cursor, or begin with another."""
        known = self._cursor.created
        has_other_history = self._cursor.has_other_history and state.created != self._stream.created
        if not known and state.last and has_other_history:
            raise errors.CannotOpen(
                f"the database has events that are not from the stream {self._stream.name}: "
                "begin with a new file, or with a copy of one that follows it"
            )
        if known not in {"", state.created}:
            if await self._has_event_at_cursor(state):
                known = self._cursor.created = state.created
                self._writer.skip(self._position)
            else:
                self._accept_new(state)
        if known != state.created:
            self._is_fresh = True
            await self._writer.begin(0)
            self._cursor.begin(state.created)
            self._position = BEGINNING
            self._writer.skip(BEGINNING)  # writes the name of the stream to the file at once
        elif not self._created:
            await self._writer.begin(self._position.sequence)
        self._created = state.created

    async def _has_event_at_cursor(self, state: StreamState) -> bool:
        """Return whether a stream with another creation time is the stream of the cursor.

        A server may change that time, for example when it restores a snapshot.
        """
        position = self._position
        if not position.sequence or state.created == self._stream.created:
            return False
        if state.last < position.sequence:
            self._raise_while_short(state)
            return False
        subject = await self._stream.consume(position.sequence)
        async with stream_reader.open_reader(self._nc, subject) as reader:
            async for found in reader.batches():
                if not found:  # a heartbeat: that event and those after it were deleted
                    return True
                first = found[0]
                if first.sequence == position.sequence:
                    return first.stored_at == position.stored_at
                return first.stored_at > position.stored_at
        return False

    def _accept_new(self, state: StreamState) -> None:
        """Raise StreamDiffers, unless the stream cannot have events that were applied before."""
        is_empty = state.created == self._stream.created or not state.last
        if self._position.sequence and not (is_empty or self._stream.accept_new):
            raise errors.StreamDiffers(
                f"the stream {self._stream.name} is another than before, so its events may have "
                "been applied already: restore the stream, begin with a new file, or set "
                "`accept_new`"
            )
        logger.warning(
            "the stream %(stream)s was created anew: reading it from the beginning",
            stream=self._stream.name,
        )

    async def _handle_short(self, state: StreamState) -> None:
        """Wait for the stream's end to come back; then read by time what came after it."""
        self._raise_while_short(state)
        self._read_by_time()
        await self._writer.begin(0)
        self._position = Position(0, self._position.stored_at)

    def _raise_while_short(self, state: StreamState) -> None:
        """Raise Unavailable for a while: the end of the stream may come back."""
        now = anyio.current_time()
        self._short_since = self._short_since or now
        if now - self._short_since < SHORT_TIMEOUT:
            raise errors.Unavailable(
                f"it ends at {state.last}, but {self._position.sequence} was read from it"
            )

    def _read_by_time(self) -> None:
        logger.error(
            "the stream %(stream)s lost its last events, which this database has: "
            "reading what was stored later",
            stream=self._stream.name,
        )
        self._since = _rfc3339(self._position.stored_at + 1)

    def _log_begin(self) -> None:
        logger.info(
            "following the stream %(stream)s from %(sequence)d: %(count)d events behind",
            stream=self._stream.name,
            sequence=self._position.sequence + 1,
            count=max(0, self.target - self._position.sequence),
        )

    def _pass_over(self, last: int) -> None:
        """Continue after events that the stream no longer has."""
        if self._is_fresh:
            logger.warning(
                "the stream %(stream)s begins at %(sequence)d: this database lacks the events "
                "before",
                stream=self._stream.name,
                sequence=last + 1,
            )
        else:
            missing = last - self._position.sequence
            self._counts.expired += missing
            self._expired += missing
            if self._throttle.allows():
                self._log_expired()
        self._skip_to(last)

    def _log_expired(self) -> None:
        if self._expired:
            logger.error(
                "lost %(count)d events: the stream %(stream)s deleted them before they were read",
                count=self._expired,
                stream=self._stream.name,
            )
            self._expired = 0

    def _skip_to(self, last: int) -> None:
        self._position, self._is_fresh = Position(last, self._position.stored_at), False
        self._writer.skip(self._position)

    async def _read(self) -> None:
        # From the last event read: if it is another now, the stream lost its end in between.
        subject = await self._stream.consume(max(1, self._position.sequence), self._since)
        async with stream_reader.open_reader(self._nc, subject) as reader:
            async for found in reader.batches():
                self._backoff.succeeded()
                for stored in found:
                    await self._take(stored)
                if not found:
                    await self._handle_heartbeat()

    async def _handle_heartbeat(self) -> None:
        """Notice that the last events were deleted, or that the stream was replaced."""
        self._heartbeats += 1
        self._log_expired()
        if self._heartbeats < QUIET_HEARTBEATS:
            return
        if self._since:  # nothing was stored since it lost its end
            self._since = ""
            self._skip_to(self._last)
        elif self._position.sequence < self._last:
            self._pass_over(self._last)
        elif anyio.current_time() - self._polled_at > POLL_INTERVAL:
            created = self._created
            await self._poll()
            if created != self._created:
                raise stream_reader.StreamInterrupted("it was created anew")

    async def _take(self, stored: stream_reader.StoredMessage) -> None:
        self._heartbeats = 0
        if stored.sequence != self._position.sequence + 1 and not self._since:
            if stored.sequence <= self._position.sequence:
                self._check_same(stored)
                return
            self._pass_over(stored.sequence - 1)
        self._position = Position(stored.sequence, stored.stored_at)
        self._since, self._is_fresh = "", False
        at = stored.stored_at / stream_reader.NANOSECONDS
        await self._dispatcher.put_event(stored.msg, at, self._position)

    def _check_same(self, stored: stream_reader.StoredMessage) -> None:
        """Ignore an event that was read before. Raises StreamInterrupted if it is another."""
        if stored.stored_at > self._position.stored_at:
            self._read_by_time()
            raise stream_reader.StreamInterrupted(
                f"the event {stored.sequence} is another than before"
            )


def _rfc3339(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, stream_reader.NANOSECONDS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
