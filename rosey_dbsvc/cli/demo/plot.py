"""Numbers as columns of characters."""

from collections.abc import Sequence
from typing import Final

BLOCKS: Final = " ▁▂▃▄▅▆▇█"
EIGHTHS: Final = 8


def plot(values: Sequence[int], width: int, height: int) -> list[str]:
    """Return lines of text with a column for each of the last values, and the scale before them."""
    top = max([1, *values[-width:]])
    heights = [round(value * height * EIGHTHS / top) for value in values[-width:]]
    rows = [
        "".join(BLOCKS[min(max(high - row * EIGHTHS, 0), EIGHTHS)] for high in heights)
        for row in reversed(range(height))
    ]
    scale = [str(top), *[""] * (height - 2), "0"]
    margin = len(str(top))
    return [f"{mark:>{margin}} ┤{row}" for mark, row in zip(scale, rows, strict=True)]
