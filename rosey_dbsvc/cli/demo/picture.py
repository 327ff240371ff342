"""The picture of the demo: four panels, drawn on the terminal."""

from collections.abc import Sequence
from typing import Final

import anyio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rosey_dbsvc._text import shorten
from rosey_dbsvc.cli.demo.channel import Channel

INTERVAL: Final = 0.25  # time between two pictures, in seconds
HEIGHT: Final = 8  # lines in a panel, so that everything fits a terminal of 24 lines
MARGIN: Final = 9  # columns of a panel's frame and of a bar chart's scale
BLOCKS: Final = " ▁▂▃▄▅▆▇█"


async def draw(channel: Channel, path: str) -> None:
    """Draw until cancelled; if standard output is not a terminal, once at the end."""
    console, begun = Console(), anyio.current_time()

    def picture(last_line: str) -> RenderableType:
        return _picture(channel, _totals(channel, begun), last_line, console.width)

    try:
        with Live(console=console, auto_refresh=False) as live:
            try:
                while True:
                    live.update(picture(f"Ctrl-C ends it, the file is {path}"), refresh=True)
                    await anyio.sleep(INTERVAL)
            finally:
                live.update(picture(""))
    finally:
        if not console.is_terminal:
            console.line()  # Live leaves it out


def _totals(channel: Channel, begun: float) -> str:
    """Return the totals since a time of the event loop."""
    return (
        f"{anyio.current_time() - begun:.0f} s: {channel.published:,} events published, "
        f"{channel.messages:,} of them chat messages; "
        f"{channel.queries:,} queries, median {channel.median_time * 1000:.1f} ms"
    )


def _picture(channel: Channel, totals: str, last_line: str, width: int) -> RenderableType:
    table = Table.grid(expand=True)
    table.add_column(ratio=1)
    table.add_column(ratio=1)
    table.add_row(_users(channel), _chat(channel))
    table.add_row(_counts(channel, width // 2 - MARGIN), _outbound(channel))
    problem = [_line(shorten(channel.problem), "bold red")] if channel.problem else []
    end = [_line(last_line, "dim")] if last_line else []
    title = _line("a simulated channel, with a service of its own", "bold")
    return Group(title, _line(totals), table, *problem, *end)


def _panel(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=title, title_align="left", height=HEIGHT + 2)


def _users(channel: Channel) -> Panel:
    return _panel(f"users: {len(channel.users)}", Text(", ".join(channel.users), "cyan"))


def _chat(channel: Channel) -> Panel:
    lines = [(shorten(line["username"]), shorten(line["message"])) for line in channel.chat]
    return _panel("recent chat", Group(*(_line(f"{name}: {text}") for name, text in lines)))


def _counts(channel: Channel, width: int) -> Panel:
    lines = bar_chart([*channel.counts], max(1, width), HEIGHT)
    return _panel("user counts", Text("\n".join(lines), "green", no_wrap=True))


def _outbound(channel: Channel) -> Panel:
    queued = [_line(f"… {shorten(each['message'])}", "yellow") for each in channel.queued]
    sent = [_line(f"✓ {shorten(each['message'])}", "dim") for each in channel.sent]
    lines = [*sent[-HEIGHT // 2 :], *queued][:HEIGHT] or [Text("empty", "dim")]
    return _panel("outbound messages", Group(*lines))


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def bar_chart(values: Sequence[int], width: int, height: int) -> list[str]:
    """Return lines with a column for each of the last values, and a scale on the left."""
    parts = len(BLOCKS) - 1
    top = max([1, *values[-width:]])
    heights = [round(value * height * parts / top) for value in values[-width:]]
    rows = [
        "".join(BLOCKS[min(max(high - row * parts, 0), parts)] for high in heights)
        for row in reversed(range(height))
    ]
    scale = [str(top), *[""] * (height - 2), "0"]
    margin = len(str(top))
    return [f"{mark:>{margin}} ┤{row}" for mark, row in zip(scale, rows, strict=True)]
