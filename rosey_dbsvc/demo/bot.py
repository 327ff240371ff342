"""The bot of the channel: it asks its database, and says what is queued."""

from collections import deque
from random import Random
from statistics import median
from typing import Final

import anyio

from rosey_dbsvc.client import DatabaseClient
from rosey_dbsvc.contract import ChatLine, OutboundMessage
from rosey_dbsvc.demo.channel import Channel
from rosey_dbsvc.demo.file import File
from rosey_dbsvc.errors import NotServed, Refused, TimedOut, UnknownReply

ASKS_EVERY: Final = 0.5
QUEUES_EVERY: Final = 5.0
"""In seconds."""
SHOWN: Final = 8
"""How many lines of chat it asks for."""
MOST: Final = 20
"""How many messages of the queue it asks for."""

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
        """Take the file, if there is one to queue messages in."""
        self.recent: list[ChatLine] = []
        self.waiting: list[OutboundMessage] = []
        self.sent: deque[OutboundMessage] = deque(maxlen=SHOWN)
        self.took: deque[float] = deque(maxlen=10_000)
        """How long the last questions had to wait for their answers, in seconds."""
        self.asked = 0
        self.trouble = ""
        self._db = db
        self._channel = channel
        self._file = file
        self._ours: set[int] = set()

    @property
    def usually(self) -> float:
        """How long a question had to wait, in the middle, in seconds."""
        return median(self.took or [0.0])

    async def look(self) -> None:
        """Ask, for ever: a service that is away may return."""
        while True:
            try:
                await self.ask()
            except (NotServed, Refused, TimedOut, UnknownReply) as error:
                self.trouble = str(error)
            await anyio.sleep(ASKS_EVERY)

    async def ask(self) -> None:
        """Ask once, and say the first message of the queue."""
        begun = anyio.current_time()
        self.recent = await self._db.recent_chat(limit=SHOWN)
        between = anyio.current_time()
        self.waiting = await self._db.get_unsent_outbound_messages(limit=MOST)
        self.took += (between - begun, anyio.current_time() - between)
        self.asked += 2
        self.trouble = ""
        # A message that others have queued is for their bot.
        for message in [each for each in self.waiting if each["id"] in self._ours][:1]:
            await self._channel.say_for(message)
            self._ours.discard(message["id"])
            self.sent.append(message)

    async def queue(self, random: Random) -> None:
        """Queue what the bot is to say, for ever, as a web page beside it would."""
        while self._file is not None:
            for text in random.sample(ANNOUNCEMENTS, random.randint(1, 4)):
                self._ours.add(await self._file.queue(text))
            await anyio.sleep(QUEUES_EVERY)

    async def close(self) -> None:
        """Take back what was not said."""
        for message_id in self._ours:
            if self._file is not None:
                await self._file.unqueue(message_id)
