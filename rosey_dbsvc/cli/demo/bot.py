"""The bot of the channel: it asks its database, looks into the file, and says what is queued."""

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from statistics import median
from typing import Final

import anyio

from rosey_dbsvc.cli.demo.channel import BOT, Channel
from rosey_dbsvc.cli.demo.file import File
from rosey_dbsvc.client.client import DatabaseClient
from rosey_dbsvc.errors import DatabaseFailed, NotServed, Refused, TimedOut, UnknownReply
from rosey_dbsvc.operations.base import ChatLine, OutboundMessage

ASKS_EVERY: Final = 0.5
QUEUES_EVERY: Final = 5.0
"""In seconds."""
SHOWN: Final = 8
"""How many lines of chat it asks for."""
MOST: Final = 20
"""How many messages of the queue it asks for."""
COUNTS: Final = 200
"""How many counts it reads."""

PASSING: Final = (Refused, TimedOut, UnknownReply, DatabaseFailed)
"""What may be over in a moment, such as a file that is locked."""

ANNOUNCEMENTS: Final = (
    "the film begins in five minutes",
    "a vote is open: comedy or thriller?",
    "welcome to all who are new",
    "this channel has had its best day so far",
    "the bot has been told to say this",
)


class Bot:
    """Keeps what it was answered last."""

    def __init__(self, db: DatabaseClient, channel: Channel, file: File | None) -> None:
        """Take the file, if there is one to look into and to queue messages in."""
        self.recent: list[ChatLine] = []
        self.waiting: list[OutboundMessage] = []
        self.sent: deque[OutboundMessage] = deque(maxlen=SHOWN)
        self.present: list[str] = []
        self.history: list[int] = []
        self.asked = 0
        self.slowest = 0.0
        """How long a question had to wait for its answer at most, in seconds."""
        self.troubles: dict[str, str] = {}
        """What goes wrong now, by what was tried."""
        self._took: deque[float] = deque(maxlen=1000)
        self._db = db
        self._channel = channel
        self._file = file
        self._ours: set[int] = set()
        """What was ever queued: that it was said may not have arrived."""

    @property
    def path(self) -> str:
        """Of the file, if there is one."""
        return self._file.path if self._file else ""

    @property
    def usually(self) -> float:
        """How long one had to wait, in the middle of the last ones, in seconds."""
        return median(self._took or [0.0])

    async def look(self) -> None:
        """Ask, look and speak, for ever."""
        while True:
            await self._try("asking", self.ask)
            await self._try("reading", self.read)
            await self._speak()
            await anyio.sleep(ASKS_EVERY)

    async def queue(self, random: Random) -> None:
        """Queue what the bot is to say, for ever, as a web page beside it would."""
        while self._file is not None:
            texts = random.sample(ANNOUNCEMENTS, random.randint(1, 4))
            await self._try("queueing", partial(self._queue, texts))
            await anyio.sleep(QUEUES_EVERY)

    async def close(self) -> None:
        """Take back what was not said."""
        if self._file is not None and self._ours:
            await self._file.unqueue([*self._ours])

    async def ask(self) -> None:
        """Ask once."""
        begun = anyio.current_time()
        self.recent = await self._db.recent_chat(limit=SHOWN)
        self._answered(begun)
        begun = anyio.current_time()
        self.waiting = await self._db.get_unsent_outbound_messages(limit=MOST)
        self._answered(begun)

    def _answered(self, begun: float) -> None:
        took = anyio.current_time() - begun
        self.asked += 1
        self.slowest = max(self.slowest, took)
        self._took.append(took)

    async def read(self) -> None:
        """Look into the file, or else at what was told."""
        if self._file is None:
            self.present, self.history = [*self._channel.present], [*self._channel.history]
            return
        self.present = await self._file.present()
        self.history = await self._file.history(COUNTS)
        if not set(self.present) & {BOT, *self._channel.present}:
            raise DatabaseFailed(f"nobody of these is in {self._file.path}: is it this service's?")

    async def _speak(self) -> None:
        """Say the first message of the queue. One that others have queued is for their bot."""
        for message in [each for each in self.waiting if each["id"] in self._ours][:1]:
            await self._channel.say_for(message)
            self.waiting.remove(message)  # the next answer may be long in coming
            self.sent.append(message)

    async def _queue(self, texts: list[str]) -> None:
        assert self._file is not None  # noqa: S101  or nobody would call it
        for text in texts:
            self._ours.add(await self._file.queue(text))

    async def _try(self, what: str, doing: Callable[[], Awaitable[None]]) -> None:
        try:
            await doing()
        except (NotServed, *PASSING) as error:  # a service that is away may return
            self.troubles[what] = str(error)
        else:
            self.troubles.pop(what, None)
