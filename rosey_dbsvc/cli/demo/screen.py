"""Where a demo is drawn, again and again."""

from typing import Final

import anyio
from rich.console import Console, RenderableType
from rich.live import Live

from rosey_dbsvc.cli.demo.bot import Bot
from rosey_dbsvc.cli.demo.channel import Channel
from rosey_dbsvc.cli.demo.picture import Moment, picture

DRAWN_EVERY: Final = 0.25
"""In seconds."""


class Screen:
    """Draws a channel and its bot on standard output; if that is no terminal, once, at the end."""

    def __init__(self, channel: Channel, bot: Bot, whose: str) -> None:
        self._channel = channel
        self._bot = bot
        self._title = f"a simulated channel, beside {whose} service"
        self._console = Console()
        self._begun = anyio.current_time()

    async def draw(self) -> None:
        """Draw, for ever."""
        try:
            with Live(console=self._console, auto_refresh=False) as live:
                await self._refresh(live)
        finally:
            if not self._console.is_terminal:
                self._console.line()  # Live leaves that out

    async def _refresh(self, live: Live) -> None:
        try:
            while True:
                live.update(self._picture(), refresh=True)
                await anyio.sleep(DRAWN_EVERY)
        finally:
            live.update(self._picture(is_over=True))

    def _picture(self, *, is_over: bool = False) -> RenderableType:
        bot = self._bot
        moment = Moment(
            title=self._title,
            numbers=self._numbers(),
            trouble="; ".join(bot.troubles.values()),
            is_over=is_over,
            path=bot.path,
            present=bot.present,
            history=bot.history,
            recent=bot.recent,
            waiting=bot.waiting,
            sent=[*bot.sent],
        )
        return picture(moment, self._console.width)

    def _numbers(self) -> str:
        return (
            f"{self._passed:.0f} s, {self._channel.told:,} events told, "
            f"{self._channel.lines_per_minute:,.0f} lines a minute, "
            f"{self._bot.asked:,} answers, half within {self._bot.usually * 1000:.1f} ms"
        )

    def summary(self) -> str:
        """Return what there was."""
        return (
            f"{self._passed:.0f} s: {self._channel.told:,} events told, "
            f"{self._channel.lines:,} of them lines of chat; "
            f"{self._bot.asked:,} questions answered within {self._bot.slowest * 1000:.1f} ms, "
            f"half of the last within {self._bot.usually * 1000:.1f} ms"
        )

    @property
    def _passed(self) -> float:
        return anyio.current_time() - self._begun
