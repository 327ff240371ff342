"""Simulated people: they come, talk and go, and the database is told."""

from collections import deque
from collections.abc import Awaitable
from math import cos
from random import Random
from typing import Final

import anyio

from rosey_dbsvc.client.client import DatabaseClient
from rosey_dbsvc.operations.base import OutboundMessage

BOT: Final = "demo-bot"
PEOPLE: Final = """
alice bob carol dave erin frank grace heidi ivan judy ken lena mike nina oscar peggy quinn rupert
sybil trent ursula victor wendy xavier yvonne zoe
"""
NAMES: Final = tuple(f"demo-{name}" for name in PEOPLE.split())
LINES: Final = (
    "hello",
    "hi all",
    "what did I miss?",
    "nice one",
    "who queued this?",
    "again, please",
    "brb",
    "is the sound off for anybody else?",
    "my favourite scene",
    "wait for it",
    "the sequel is better",
    "good night",
)

BUSIEST, QUIETEST, TIDE = 24, 4, 9.0
"""How many people there are at most and at least, and a measure of how long that takes to turn."""
MOVES_EVERY: Final = 0.4
COUNTS_EVERY: Final = 1.0
"""In seconds. A bot counts every few minutes; here an hour goes by in a moment."""
MOST_LATE: Final = 1.0
"""How much of what was not said in time is made up for, in seconds: not a night's."""
MINUTE: Final = 60


class Channel:
    """What a bot would see, told to its database as it would tell it."""

    def __init__(self, db: DatabaseClient, rate: float, random: Random) -> None:
        """Take how many lines of chat there are to be a minute."""
        self.present: list[str] = []
        self.history: deque[int] = deque(maxlen=1000)
        """How many people there were at each count."""
        self.told = 0
        self.lines = 0
        self._db = db
        self._pause = MINUTE / rate
        self._random = random
        self._seconds: deque[int] = deque(maxlen=MINUTE)
        self._counted = 0
        self._met: set[str] = set()
        """Who has ever come, or was about to."""

    @property
    def lines_per_minute(self) -> float:
        """Of the last minute, or of what there was of it."""
        return sum(self._seconds) * MINUTE / COUNTS_EVERY / max(1, len(self._seconds))

    async def open(self) -> None:
        """Let the bot and the first people in."""
        await self._come(BOT)
        for _ in range(QUIETEST):
            await self._come(self._random.choice(self._absent()))

    async def talk(self) -> None:
        """Have people say something, for ever."""
        due = anyio.current_time()
        while True:
            due = max(due, anyio.current_time() - MOST_LATE)
            due += self._random.expovariate(1 / self._pause)
            await anyio.sleep_until(due)
            people = [name for name in self.present if name != BOT]
            await self.say(self._random.choice(people), self._random.choice(LINES))

    async def move(self) -> None:
        """Have people come and go, for ever: many at times, few at others."""
        begun = anyio.current_time()
        while True:
            await anyio.sleep(self._random.uniform(0, 2 * MOVES_EVERY))
            tide = (1 - cos((anyio.current_time() - begun) / TIDE)) / 2
            wanted = QUIETEST + tide * (BUSIEST - QUIETEST) + self._random.uniform(-2, 2)
            if len(self.present) <= max(QUIETEST, wanted):
                await self._come(self._random.choice(self._absent()))
            else:
                await self._go(self._random.choice(self.present[1:]))

    async def count(self) -> None:
        """Count who is here, for ever. Not the high water marks, which a channel has for good."""
        while True:
            await anyio.sleep(COUNTS_EVERY)
            here = len(self.present)
            self.history.append(here)
            await self._tell(self._db.log_user_count(here, here + self._random.randrange(4)))
            self._seconds.append(self.lines - self._counted)
            self._counted = self.lines

    async def say(self, name: str, text: str) -> None:
        """Say something."""
        await self._tell(self._db.user_chat_message(name, text))
        self.lines += 1

    async def say_for(self, message: OutboundMessage) -> None:
        """Have the bot say something from the queue."""
        await self.say(BOT, message["message"])
        await self._tell(self._db.mark_outbound_sent(message["id"]))

    async def close(self) -> None:
        """Let everybody go who has ever come: what was told while nobody listened is forgotten."""
        self.present.clear()
        for name in sorted(self._met):
            await self._tell(self._db.user_left(name))

    def _absent(self) -> list[str]:
        return [name for name in NAMES if name not in self.present]

    async def _come(self, name: str) -> None:
        self._met.add(name)
        await self._tell(self._db.user_joined(name))
        self.present.append(name)

    async def _go(self, name: str) -> None:
        self.present.remove(name)
        await self._tell(self._db.user_left(name))

    async def _tell(self, telling: Awaitable[None]) -> None:
        await telling
        self.told += 1
