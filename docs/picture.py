"""Make docs/demo.svg from a terminal in which the demo runs: `nox -s picture`."""

from io import StringIO
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text
from support.terminal import COLUMNS, on_a_terminal

FILE: Final = Path(__file__).with_name("demo.svg")
COMMAND: Final = ("demo", "--rate", "600", "--duration", "20s")
ERASED: Final = "\x1b[2K"
"""Erases a line: what follows the last one is the last frame."""
TEMPLATE: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" class="rich-terminal" \
viewBox="0 0 {width} {height}" role="img" aria-label="The demo on a terminal">
<style>
.{unique_id}-matrix {{
    font-family: "Fira Code", "DejaVu Sans Mono", Menlo, Consolas, monospace;
    font-size: {char_height}px;
    line-height: {line_height}px;
}}
.{unique_id}-title {{ font-size: 18px; font-family: system-ui, Arial, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""That of rich, without its web font: a picture in a page loads nothing."""


def last_frame() -> str:
    """Run the demo to its end; return all that the terminal shows then."""
    with on_a_terminal(*COMMAND, NO_COLOR="", COLORTERM="truecolor") as terminal:
        if terminal.wait():
            raise SystemExit(terminal.said)
        return terminal.said.rpartition(ERASED)[2].replace("\r", "")


def svg(frame: str) -> str:
    """Return a terminal window with the frame in it. It has a background of its own."""
    console = Console(record=True, width=COLUMNS, file=StringIO())
    console.print(Text.from_ansi(frame))
    return console.export_svg(
        title=" ".join(["rosey-dbsvc", *COMMAND]),
        theme=DIMMED_MONOKAI,
        code_format=TEMPLATE,
        unique_id="demo",
    )


def main() -> None:
    """Write the picture."""
    FILE.write_text(svg(last_frame()), encoding="utf-8")


if __name__ == "__main__":
    main()
