"""A simulated channel: users join, talk and leave, and its bot publishes and queries that."""

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from math import cos
from random import Random
from statistics import median
from typing import Final, TypeVar

import anyio

from rosey_dbsvc.client import DatabaseClient
from rosey_dbsvc.errors import DatabaseFailed, NotServed, Refused, TimedOut, UnknownReply
from rosey_dbsvc.operations.chat import ChatLine
from rosey_dbsvc.operations.outbound import OutboundMessage

BOT: Final = "demo-bot"
PEOPLE: Final = """
alice bob carol dave erin frank grace heidi ivan judy ken lena mike nina oscar peggy quinn rupert
sybil trent ursula victor wendy xavier yvonne zoe
"""
NAMES: Final = PEOPLE.split()
MESSAGES: Final = (
    "hello",
    "what did I miss?",
    "nice one",
    "who queued this?",
    "again, please",
    "brb",
    "my favourite scene",
    "wait for it",
    "the sequel is better",
    "good night",
)
ANNOUNCEMENTS: Final = (
    "the film begins in five minutes",
    "a vote is open: comedy or thriller?",
    "welcome to all who are new",
    "this channel has had its best day so far",
)
MAX_USERS, MIN_USERS, WAVE = 24, 4, 9.0
"""Bounds of the number of users, and the length of a wave between them."""
MOVE_INTERVAL: Final = 0.4
COUNT_INTERVAL: Final = 1.0
QUERY_INTERVAL: Final = 0.5
SPEAK_INTERVAL: Final = 2.0  # in seconds. A real bot counts every few minutes.
MAX_DELAY: Final = 1.0  # time for which late messages are caught up, in seconds
LIMIT: Final = 8  # rows that a query requests
TRANSIENT: Final = (NotServed, Refused, TimedOut, UnknownReply, DatabaseFailed)
"""Errors that may pass: they are shown while they last."""

T = TypeVar("T")


class Channel:
    """A channel and its bot. The bot keeps the last replies of the service."""

    def __init__(self, db: DatabaseClient, rate: float, random: Random) -> None:
        """Take the number of chat messages per minute."""
        self.users: list[str] = []
        self.counts: deque[int] = deque(maxlen=1000)
        self.chat: list[ChatLine] = []
        self.queued: list[OutboundMessage] = []
        self.sent: deque[OutboundMessage] = deque(maxlen=LIMIT)
        self.published = self.messages = self.queries = 0
        self.problem = ""
        self._times: deque[float] = deque(maxlen=1000)
        self._db = db
        self._pause = 60 / rate
        self._random = random

    @property
    def median_time(self) -> float:
        """Median of the last queries, in seconds."""
        return median(self._times or [0.0])

    async def run(self) -> None:
        """Publish and query until cancelled."""
        await self._join(BOT)
        for _ in range(MIN_USERS):
            await self._join(self._random.choice(self._absent()))
        async with anyio.create_task_group() as tasks:
            for each in (self._talk, self._move, self._count, self._query, self._speak):
                tasks.start_soon(each, name=each.__name__)

    async def _talk(self) -> None:
        due = anyio.current_time()
        while True:
            due = max(due, anyio.current_time() - MAX_DELAY)
            due += self._random.expovariate(1 / self._pause)
            await anyio.sleep_until(due)
            await self._say(self._random.choice(self.users[1:]), self._random.choice(MESSAGES))

    async def _move(self) -> None:
        """Let users join and leave, in waves."""
        begun = anyio.current_time()
        while True:
            await anyio.sleep(self._random.uniform(0, 2 * MOVE_INTERVAL))
            wave = (1 - cos((anyio.current_time() - begun) / WAVE)) / 2
            wanted = MIN_USERS + wave * (MAX_USERS - MIN_USERS) + self._random.uniform(-2, 2)
            if len(self.users) <= max(MIN_USERS, wanted):
                await self._join(self._random.choice(self._absent()))
            else:
                name = self._random.choice(self.users[1:])
                self.users.remove(name)
                await self._publish(self._db.user_left(name))

    async def _count(self) -> None:
        while True:
            await anyio.sleep(COUNT_INTERVAL)
            self.counts.append(len(self.users))
            await self._publish(self._db.log_user_count(len(self.users), len(self.users)))

    async def _query(self) -> None:
        while True:
            try:
                self.chat = await self._timed(partial(self._db.recent_chat, LIMIT))
                self.queued = await self._timed(
                    partial(self._db.get_unsent_outbound_messages, LIMIT)
                )
                self.problem = ""
            except TRANSIENT as error:
                self.problem = str(error)
            await anyio.sleep(QUERY_INTERVAL)

    async def _timed(self, query: Callable[[], Awaitable[T]]) -> T:
        begun = anyio.current_time()
        rows = await query()
        self.queries += 1
        self._times.append(anyio.current_time() - begun)
        return rows

    async def _speak(self) -> None:
        """Let the bot say the outbound messages, one after the other."""
        while True:
            await anyio.sleep(SPEAK_INTERVAL)
            for message in self.queued[:1]:
                await self._say(BOT, message["message"])
                await self._publish(self._db.mark_outbound_sent(message["id"]))
                self.queued = [each for each in self.queued if each["id"] != message["id"]]
                self.sent.append(message)

    async def _say(self, name: str, text: str) -> None:
        await self._publish(self._db.user_chat_message(name, text))
        self.messages += 1

    def _absent(self) -> list[str]:
        return [name for name in NAMES if name not in self.users]

    async def _join(self, name: str) -> None:
        await self._publish(self._db.user_joined(name))
        self.users.append(name)

    async def _publish(self, publishing: Awaitable[None]) -> None:
        await publishing
        self.published += 1
