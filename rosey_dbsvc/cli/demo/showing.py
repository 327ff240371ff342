"""A demo from its begin to its end: a service, a channel, and the picture of both."""

import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import Final

import anyio
from anyio import CancelScope
from msgspec import Struct

from rosey_dbsvc.cli.demo.bot import PASSING, Bot
from rosey_dbsvc.cli.demo.channel import Channel
from rosey_dbsvc.cli.demo.file import File
from rosey_dbsvc.cli.demo.screen import Screen
from rosey_dbsvc.cli.signals import obey_signals
from rosey_dbsvc.client.client import DatabaseClient
from rosey_dbsvc.credentials import Credentials
from rosey_dbsvc.embed import serve
from rosey_dbsvc.errors import ConnectionLost, DatabaseFailed, NotServed, sole_error
from rosey_dbsvc.settings import DEFAULT_PREFIX, Settings

TIMEOUT: Final = 2.0
"""How long a service that runs may take to answer, in seconds."""
FAREWELL: Final = 20.0
"""How long it may take to leave nothing behind, in seconds; a second signal ends it."""
PAUSE: Final = 0.2
FAILS_WITHIN: Final = 5.0
"""How long a service may take to fail, in seconds, when its client is left."""

LEFT_BEHIND: Final = (
    "no service answered at the end: people and messages of the demo's may stay in its database"
)


class Demo(Struct, frozen=True, kw_only=True):
    """What is to be shown."""

    rate: float
    """Lines of chat a minute."""
    seconds: float = float("inf")
    urls: tuple[str, ...] = ()
    """Where a service runs. Empty: none does, and the demo has one of its own."""
    credentials: Credentials = Credentials()
    prefix: str = DEFAULT_PREFIX
    db_path: str = ""
    """The file of the service that runs, if it is on this machine."""


class Showing:
    """One `rosey-dbsvc demo`."""

    def __init__(self, demo: Demo) -> None:
        self._demo = demo
        self._random = Random()  # noqa: S311  what people say is no secret
        self._scope = CancelScope()
        self._farewell = CancelScope(shield=True)
        self._summary = "ended before there was something to show"
        self._lines = 0
        """How many lines of chat were told."""

    async def run(self) -> str:
        """Show it until the time is over or a signal comes; return a summary.

        Raises a DbsvcError.
        """
        with sole_error():
            async with anyio.create_task_group() as tasks:
                await tasks.start(obey_signals, self._end, name="signals")
                await (self._beside() if self._demo.urls else self._inside())
                tasks.cancel_scope.cancel()
        return self._summary

    def _end(self, _: signal.Signals) -> None:
        scope = self._farewell if self._scope.cancel_called else self._scope
        scope.cancel()

    async def _inside(self) -> None:
        """Show a service of the demo's own; nothing of it is left."""
        async with anyio.TemporaryDirectory(prefix="rosey-dbsvc-") as folder:
            file = File(f"{folder}/bot_data.db")
            with self._scope:
                await self._serve(file)
            if self._lines:
                await self._check(file)

    async def _serve(self, file: File) -> None:
        settings = Settings(db_path=file.path, local_port=_free_port())
        async with anyio.create_task_group() as tasks:
            db = await tasks.start(serve, settings, name="rosey-dbsvc")
            try:
                with sole_error():
                    await self._play(db, file)
            except ConnectionLost:
                await anyio.sleep(FAILS_WITHIN)  # for the service to say why
                raise

    async def _check(self, file: File) -> None:
        stored, lines = await file.lines(), self._lines
        if stored < lines:
            raise DatabaseFailed(f"{lines - stored} of {lines} lines are not in the database")
        self._summary += f"\nthe database had each of the {stored:,} lines"

    async def _beside(self) -> None:
        """Show a service that runs."""
        demo = self._demo
        client = DatabaseClient(
            demo.urls, prefix=demo.prefix, credentials=demo.credentials, timeout=TIMEOUT
        )
        with self._scope:
            async with client as db:
                file = File(demo.db_path) if demo.db_path else None
                if file is not None:
                    await file.check()
                await self._play(db, file)

    async def _play(self, db: DatabaseClient, file: File | None) -> None:
        """Show it, and leave nothing behind."""
        channel = Channel(db, self._demo.rate, self._random)
        bot = Bot(db, channel, file)
        await bot.ask()  # before anything is told
        self._scope.deadline = anyio.current_time() + self._demo.seconds
        screen = Screen(channel, bot, "a running" if self._demo.urls else "its own")
        try:
            await self._live(channel, bot, screen)
        finally:
            self._summary, self._lines = screen.summary(), channel.lines
            if self._demo.urls:
                await self._leave(channel, bot)

    async def _leave(self, channel: Channel, bot: Bot) -> None:
        """Have nobody and nothing stay in the database of others. Raises NotServed."""
        with self._farewell:
            self._farewell.deadline = anyio.current_time() + FAREWELL
            with suppress(ConnectionLost, NotServed):
                for step in (channel.close, bot.close):
                    await _insist(step)
                await _insist(bot.ask)  # when it is answered, all that was told is applied
                return
        raise NotServed(LEFT_BEHIND)

    async def _live(self, channel: Channel, bot: Bot, screen: Screen) -> None:
        await channel.open()
        async with anyio.create_task_group() as tasks:
            for each in (channel.talk, channel.move, channel.count, bot.look):
                tasks.start_soon(each, name=each.__name__)
            tasks.start_soon(bot.queue, self._random, name="queue")
            await screen.draw()


def show(demo: Demo) -> str:
    """Show it; return a summary. Raises a DbsvcError."""

    async def run() -> str:
        return await Showing(demo).run()

    return anyio.run(run)


async def _insist(step: Callable[[], Awaitable[None]]) -> None:
    """Take the step until it succeeds: a file that is locked, or a query in vain, may pass."""
    while True:
        try:
            return await step()
        except PASSING:
            await anyio.sleep(PAUSE)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
