"""A demo from its begin to its end: a service, a channel, and the picture of both."""

import signal
import socket
from random import Random
from typing import Final

import anyio
from anyio import CancelScope
from msgspec import Struct
from rich.console import Console
from rich.live import Live

from rosey_dbsvc.client import DatabaseClient
from rosey_dbsvc.credentials import Credentials
from rosey_dbsvc.demo.bot import Bot
from rosey_dbsvc.demo.channel import BOT, Channel
from rosey_dbsvc.demo.file import File
from rosey_dbsvc.demo.picture import Moment, columns, picture
from rosey_dbsvc.errors import ConnectionLost, DatabaseFailed, sole_error
from rosey_dbsvc.host import serve
from rosey_dbsvc.settings import DEFAULT_PREFIX, Settings
from rosey_dbsvc.signals import obey_signals

DRAWN_EVERY: Final = 0.25
"""In seconds."""


FAILS_WITHIN: Final = 5.0
"""How long a service may take to fail, in seconds, when its client is left."""


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
        self._scope = CancelScope()
        self._console = Console()
        self._random = Random()  # noqa: S311  what people say is no secret
        self._begun = 0.0

    async def run(self) -> str:
        """Show it until the time is over or a signal comes; return a summary.

        Raises a DbsvcError.
        """
        with sole_error():
            async with anyio.create_task_group() as tasks:
                await tasks.start(obey_signals, self._end, name="signals")
                summary = await (self._beside() if self._demo.urls else self._inside())
                tasks.cancel_scope.cancel()
        return summary

    def _end(self, _: signal.Signals) -> None:
        self._scope.cancel()

    async def _inside(self) -> str:
        """Show a service of the demo's own; nothing of it is left."""
        async with anyio.TemporaryDirectory(prefix="rosey-dbsvc-") as folder:
            file = File(f"{folder}/bot_data.db")
            settings = Settings(db_path=file.path, local_port=_free_port())
            async with anyio.create_task_group() as tasks:
                db = await tasks.start(serve, settings, name="rosey-dbsvc")
                try:
                    with sole_error():
                        summary, lines = await self._play(db, file)
                except ConnectionLost:
                    await anyio.sleep(FAILS_WITHIN)  # for the service to say why
                    raise
                tasks.cancel_scope.cancel()
            stored = await file.lines()
        if stored < lines:
            raise DatabaseFailed(f"{lines - stored} of {lines} lines are not in the database")
        return f"{summary}\nthe database had each of the {stored:,} lines"

    async def _beside(self) -> str:
        """Show a service that runs."""
        demo = self._demo
        file = File(demo.db_path) if demo.db_path else None
        client = DatabaseClient(demo.urls, prefix=demo.prefix, credentials=demo.credentials)
        async with client as db:
            return (await self._play(db, file))[0]

    async def _play(self, db: DatabaseClient, file: File | None) -> tuple[str, int]:
        """Show it; return what there was, and how many lines of chat."""
        channel = Channel(db, self._demo.rate, self._random)
        bot = Bot(db, channel, file)
        await bot.ask()
        if file is not None:
            await file.present()  # before anything is told
        self._begun = anyio.current_time()
        self._scope.deadline = self._begun + self._demo.seconds
        with self._scope:
            await self._live(channel, bot, file)
        if not self._console.is_terminal:
            self._console.line()  # Live leaves that out
        await bot.close()
        await channel.close()
        return self._summary(channel, bot), channel.lines

    async def _live(self, channel: Channel, bot: Bot, file: File | None) -> None:
        await channel.open()
        await bot.ask()  # when it is answered, they are in the file
        async with anyio.create_task_group() as tasks:
            for each in (channel.talk, channel.move, channel.count, bot.look):
                tasks.start_soon(each, name=each.__name__)
            tasks.start_soon(bot.queue, self._random, name="queue")
            await self._draw(channel, bot, file)

    async def _draw(self, channel: Channel, bot: Bot, file: File | None) -> None:
        moment = await self._moment(channel, bot, file)
        with Live(console=self._console, auto_refresh=False) as live:
            try:
                while True:
                    live.update(picture(moment, self._console.width), refresh=True)
                    await anyio.sleep(DRAWN_EVERY)
                    moment = await self._moment(channel, bot, file)
            finally:
                live.update(picture(moment._replace(is_over=True), self._console.width))

    async def _moment(self, channel: Channel, bot: Bot, file: File | None) -> Moment:
        most = columns(self._console.width)
        present = channel.present if file is None else await file.present()
        return Moment(
            title=f"a simulated channel, beside {self._whose} service",
            numbers=self._numbers(channel, bot),
            is_over=False,
            trouble=bot.trouble or self._doubt(file, present),
            path=file.path if file else "",
            present=present,
            history=[*channel.history] if file is None else await file.history(most),
            recent=bot.recent,
            waiting=bot.waiting,
            sent=[*bot.sent],
        )

    def _doubt(self, file: File | None, present: list[str]) -> str:
        if file is None or BOT in present:
            return ""
        return f"nobody of these is in {file.path}: is it this service's?"

    @property
    def _whose(self) -> str:
        return "a running" if self._demo.urls else "its own"

    def _numbers(self, channel: Channel, bot: Bot) -> str:
        return (
            f"{anyio.current_time() - self._begun:.0f} s, {channel.told:,} events told, "
            f"{channel.lines_per_minute:,.0f} lines a minute, "
            f"{bot.asked:,} questions answered in {bot.usually * 1000:.1f} ms"
        )

    def _summary(self, channel: Channel, bot: Bot) -> str:
        return (
            f"{anyio.current_time() - self._begun:.0f} s: {channel.told:,} events told, "
            f"{channel.lines:,} of them lines of chat; {bot.asked:,} questions answered, half of "
            f"them within {bot.usually * 1000:.1f} ms and all within {max(bot.took) * 1000:.1f} ms"
        )


def show(demo: Demo) -> str:
    """Show it; return a summary. Raises a DbsvcError."""

    async def run() -> str:
        return await Showing(demo).run()

    return anyio.run(run)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
