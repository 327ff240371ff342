"""What a demo looks like at a moment."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rosey_dbsvc.cli.demo.plot import plot
from rosey_dbsvc.operations.base import ChatLine, OutboundMessage
from rosey_dbsvc.operations.codec import shorten

HEIGHT: Final = 8
"""Of what is in a panel, in lines; all of it fits a terminal of 24."""
FRAME: Final = 4
"""What a panel's frame takes of its width, in columns."""
SCALE: Final = 5
"""What a plot's scale may take of it."""

Style = str


class Moment(NamedTuple):
    """What is shown."""

    title: str
    numbers: str
    trouble: str
    is_over: bool
    path: str
    """Of the file that the people and the counts are from; empty: they are as they were told."""
    present: Sequence[str]
    history: Sequence[int]
    recent: Sequence[ChatLine]
    waiting: Sequence[OutboundMessage]
    sent: Sequence[OutboundMessage]


def columns(width: int) -> int:
    """Return how many counts find room beside each other on a terminal of this width."""
    return max(1, width // 2 - FRAME - SCALE)


def picture(moment: Moment, width: int) -> RenderableType:
    """Return the four panels and the lines around them."""
    table = Table.grid(expand=True)
    table.add_column(ratio=1)
    table.add_column(ratio=1)
    table.add_row(_people(moment), _chat(moment.recent))
    table.add_row(_counts(moment, columns(width)), _queue(moment.waiting, moment.sent))
    first = (_line((moment.title, "bold")), _line((moment.numbers, "")))
    return Group(*first, table, *_last(moment))


def _last(moment: Moment) -> list[Text]:
    file = f", the file is {moment.path}" if moment.path else ""
    trouble = [_line((shorten(moment.trouble), "bold red"))] if moment.trouble else []
    end = [] if moment.is_over else [_line((f"Ctrl-C ends it{file}", "dim"))]
    return [*trouble, *end]


def _source(moment: Moment) -> str:
    return "in the file" if moment.path else "as told"


def _panel(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=title, title_align="left", height=HEIGHT + 2)


def _people(moment: Moment) -> Panel:
    names = Text(", ").join(Text(shorten(name), "cyan") for name in moment.present)
    return _panel(f"who is here: {len(moment.present)}, {_source(moment)}", names)


def _chat(recent: Sequence[ChatLine]) -> Panel:
    lines = [
        _line((shorten(line["username"]), "cyan"), (f" {shorten(line['message'])}", ""))
        for line in recent[-HEIGHT:]
    ]
    return _panel("chat, as the service answers", Group(*lines))


def _counts(moment: Moment, most: int) -> Panel:
    lines = plot(moment.history, most, HEIGHT)
    text = Text("\n".join(lines), "green", no_wrap=True)
    return _panel(f"how many were here, {_source(moment)}", text)


def _queue(waiting: Sequence[OutboundMessage], sent: Sequence[OutboundMessage]) -> Panel:
    shown = [_message("…", each, "yellow") for each in waiting]
    said = [_message("✓", each, "dim") for each in sent]
    lines = [*said[-max(1, HEIGHT - len(shown)) :], *shown][:HEIGHT] or [Text("empty", "dim")]
    return _panel(f"outbound queue: {len(waiting)} waiting", Group(*lines))


def _message(mark: str, message: OutboundMessage, style: Style) -> Text:
    return _line((f"{mark} {shorten(message['message'])}", style))


def _line(*parts: tuple[str, Style]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
