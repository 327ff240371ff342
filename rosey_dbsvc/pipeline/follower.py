"""Reads on in a stream from where the database is, for as long as it is let."""

import logging
from datetime import UTC, datetime
from time import monotonic
from typing import Final

import anyio
from nats.aio.client import Client
from nats.aio.msg import Msg

from rosey_dbsvc._patience import Patience
from rosey_dbsvc.errors import (
    CannotOpen,
    NoJetStream,
    StreamChanged,
    StreamDiffers,
    StreamRefused,
    Unavailable,
)
from rosey_dbsvc.messaging.stream import State, Stream
from rosey_dbsvc.messaging.stream_reader import NANOSECONDS, Interrupted, pulled
from rosey_dbsvc.pipeline.events import Events
from rosey_dbsvc.pipeline.writer import Writer
from rosey_dbsvc.storage.cursor import BEGINNING, Cursor, Position

logger = logging.getLogger(__name__)

AWAY: Final = (Interrupted, Unavailable, NoJetStream, StreamRefused)
"""What may pass, once the stream has been read. The database knows where to read on."""

SHORT: Final = 5.0
"""How long a stream may be shorter than it was: a new leader has yet to catch up. In seconds."""
QUIET: Final = 3
"""After how many heartbeats without a message there is nothing more of what the stream had."""
LOOKED_EVERY: Final = 30.0
"""How often the state of a quiet stream is looked at, in seconds."""
SAID_EVERY: Final = 10.0
"""How often the log says that events are missing, in seconds."""


class Follower:
    """Takes the events of a stream, each once and in order, whatever becomes of the consumer.

    It may be cancelled at any time: what is not in the database is still in the stream.
    """

    def __init__(
        self, nc: Client, stream: Stream, cursor: Cursor, writer: Writer, events: Events
    ) -> None:
        self.begun = anyio.Event()
        """When it is known how far there is to go."""
        self.target = 0
        """The last sequence of the stream when that was known."""
        self.clustered = False
        """Whether it is kept by a cluster of servers."""
        self._nc = nc
        self._stream = stream
        self._cursor = cursor
        self._writer = writer
        self._events = events
        self._taken = cursor.position
        self._fresh = not cursor.created
        self._created = ""
        self._since = ""
        self._last = 0
        self._looked_at = 0.0
        self._quiet = 0
        self._short_since: float | None = None
        self._missing = Missing(stream.name)
        self._patience = Patience(
            f"the stream {stream.name} cannot be read", f"the stream {stream.name} is read again"
        )

    async def run(self) -> None:
        """Read on until cancelled.

        Raises StreamDiffers, StreamRefused, CannotOpen or ConnectionLost, and later StreamChanged.
        """
        try:
            while True:
                await self._try()
        except StreamDiffers as error:
            if self.begun.is_set():
                raise StreamChanged(str(error)) from None
            raise
        finally:
            self._missing.say()

    async def _try(self) -> None:
        try:
            await self._look()
            await self._read()
        except AWAY as error:
            if isinstance(error, StreamRefused | NoJetStream) and not self._created:
                raise
            await self._patience.wait(str(error))

    async def _look(self) -> None:
        """See what is in the stream: the one that the cursor is in, from where on, and how far."""
        state = await self._stream.state()
        self._last, self._looked_at, self._quiet = state.last, anyio.current_time(), 0
        self.clustered = state.clustered
        if state.created != self._created:
            await self._be_in(state)
        if state.last < self._taken.sequence:
            await self._be_short(state)
        elif self._taken.sequence < state.first - 1 and not self._since:
            self._pass_over(state.first - 1)
        self._short_since = None
        self.target = min(self.target, state.last)  # it may be another by now, or shorter
        if not self.begun.is_set():
            self.target = state.last
            self._say_begun()
            self.begun.set()

    async def _be_in(self, state: State) -> None:
        known = self._cursor.created
        others = self._cursor.of_others and state.created != self._stream.made
        if not known and state.last and others:
            raise CannotOpen(
                "the database has a history already, and no place in the stream "
                f"{self._stream.name}: begin with a new file, or a copy of one that follows it"
            )
        if known and known != state.created:
            logger.warning(
                "the stream %s was made anew: reading it from its beginning", self._stream.name
            )
        if known != state.created:
            self._fresh = True
            await self._writer.begin(0)
            self._cursor.begin(state.created)
            self._taken = BEGINNING
            self._writer.skip(BEGINNING)  # the file is to say at once what it follows
        elif not self._created:
            await self._writer.begin(self._taken.sequence)
        self._created = state.created

    async def _be_short(self, state: State) -> None:
        """See whether the stream stays shorter than it was, as after a power cut of its server."""
        now = anyio.current_time()
        self._short_since = self._short_since or now
        if now - self._short_since < SHORT:
            raise Unavailable(f"it ends at {state.last}, and {self._taken.sequence} was read of it")
        self._say_cut()
        await self._writer.begin(0)
        self._taken = Position(0, self._taken.stored_at)

    def _say_cut(self) -> None:
        """Say that the stream has lost its end, and read what has come since by its time."""
        logger.error(
            "the stream %s has lost its end, which this database has: reading what came later",
            self._stream.name,
        )
        self._since = _rfc3339(self._taken.stored_at + 1)

    def _say_begun(self) -> None:
        logger.info(
            "reading on in the stream %s from %d, %d events behind",
            self._stream.name,
            self._taken.sequence + 1,
            max(0, self.target - self._taken.sequence),
        )

    def _pass_over(self, last: int) -> None:
        """Go on behind events that the stream has no more, and the database has not seen."""
        if self._fresh:
            logger.warning(
                "the stream %s begins at %d: what came before is not in this database",
                self._stream.name,
                last + 1,
            )
        else:
            self._missing.add(last - self._taken.sequence)
            self._events.miss(last - self._taken.sequence)
        self._skip_to(last)

    def _skip_to(self, last: int) -> None:
        self._taken, self._fresh = Position(last, self._taken.stored_at), False
        self._writer.skip(self._taken)

    async def _read(self) -> None:
        # The last one again: if it is another by now, the stream has lost its end in between.
        subject = await self._stream.consume(max(1, self._taken.sequence), self._since)
        async with pulled(self._nc, subject) as pull:
            async for found in pull.messages():
                self._patience.over()
                for position, msg in found:
                    await self._take(position, msg)
                if not found:
                    await self._be_quiet()

    async def _be_quiet(self) -> None:
        """Notice, when nothing has come for a while, that the stream's last events were deleted."""
        self._quiet += 1
        self._missing.say()
        if self._quiet < QUIET:
            return
        if self._since:  # nothing has come since it has lost its end
            self._since = ""
            self._skip_to(self._last)
        elif self._taken.sequence < self._last:
            self._pass_over(self._last)
        elif anyio.current_time() - self._looked_at > LOOKED_EVERY:
            created = self._created
            await self._look()
            if created != self._created:
                raise Interrupted("it was made anew")

    async def _take(self, position: Position, msg: Msg) -> None:
        self._quiet = 0
        if position.sequence != self._taken.sequence + 1 and not self._since:
            if position.sequence <= self._taken.sequence:
                self._see_again(position)
                return
            self._pass_over(position.sequence - 1)
        self._taken, self._since, self._fresh = position, "", False
        if not await self._events.take(msg, position.stored_at / NANOSECONDS, position):
            self._writer.skip(position)

    def _see_again(self, position: Position) -> None:
        """Let go what the database has; raise Interrupted if it is what came later in its place."""
        if position.stored_at > self._taken.stored_at:
            self._say_cut()
            raise Interrupted(f"{position.sequence} is another event than it was")


class Missing:
    """Counts the events that were not to be had, and says now and then how many."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._count = 0
        self._said = -SAID_EVERY

    def add(self, count: int) -> None:
        """Count so many more."""
        self._count += count
        if monotonic() - self._said >= SAID_EVERY:
            self.say()

    def say(self) -> None:
        """Say how many there were since it was said last."""
        if self._count:
            logger.error(
                "%d events of the stream %s expired unseen, or were deleted: they are lost",
                self._count,
                self._stream,
            )
            self._count, self._said = 0, monotonic()


def _rfc3339(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, NANOSECONDS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
