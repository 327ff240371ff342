"""The picture of the demo."""

from io import StringIO
from random import Random
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rosey_dbsvc import DatabaseClient
from rosey_dbsvc.cli.demo.channel import NAMES, Channel
from rosey_dbsvc.cli.demo.picture import BLOCKS, HEIGHT, MARGIN, _picture, bar_chart

texts = st.text(max_size=300)
STYLES = ("\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[1;2m")


def channel(**fields: Any) -> Channel:
    made = Channel(cast("DatabaseClient", None), 60, Random(1))
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def message(text: str) -> Any:
    return {"id": 1, "timestamp": 1, "message": text, "retry_count": 0, "last_error": None}


def drawn(channel: Channel, width: int = 80, last_line: str = "Ctrl-C ends it") -> list[str]:
    console = Console(file=StringIO(), width=width, force_terminal=True, no_color=True)
    console.print(_picture(channel, "12 s", last_line, width))
    assert isinstance(console.file, StringIO)
    plain = console.file.getvalue()
    for style in STYLES:
        plain = plain.replace(style, "")
    return plain.splitlines()


@given(
    users=st.lists(st.sampled_from(NAMES), max_size=100),
    counts=st.lists(st.integers(min_value=0, max_value=2**63 - 1), max_size=200),
    said=st.lists(st.tuples(texts, texts), max_size=20),
    queued=st.lists(texts.map(message), max_size=20),
    sent=st.lists(texts.map(message), max_size=20),
    problem=texts,
    width=st.integers(min_value=40, max_value=200),
)
def test_any_text_stays_in_its_place_and_moves_no_cursor(
    users: list[str],
    counts: list[int],
    said: list[tuple[str, str]],
    queued: list[Any],
    sent: list[Any],
    problem: str,
    width: int,
) -> None:
    chat: Any = [{"timestamp": 1, "username": name, "message": text} for name, text in said]
    lines = drawn(
        channel(users=users, counts=counts, chat=chat, queued=queued, sent=sent, problem=problem),
        width,
    )
    assert len(lines) == 2 * (HEIGHT + 2) + 3 + bool(problem)
    assert not any("\x1b" in line for line in lines)


def test_an_escape_sequence_is_escaped() -> None:
    said: Any = {"timestamp": 1, "username": "mallory", "message": "\x1b]0;owned\x07[red]"}
    shown = "\n".join(drawn(channel(chat=[said])))
    assert r"mallory: \x1b]0;owned\x07[red]" in shown


def test_queued_messages_go_before_sent_ones() -> None:
    queued = [message(f"queued {number}") for number in range(8)]
    sent = [message(f"sent {number}") for number in range(8)]
    shown = "\n".join(drawn(channel(queued=queued, sent=sent)))
    assert [f"✓ sent {number}" in shown for number in range(8)] == [False] * 4 + [True] * 4
    assert [f"… queued {number}" in shown for number in range(8)] == [True] * 4 + [False] * 4
    assert "empty" in "\n".join(drawn(channel()))


def test_when_it_is_over_nothing_is_left_to_end() -> None:
    assert "Ctrl-C" in drawn(channel())[-1]
    assert "Ctrl-C" not in "\n".join(drawn(channel(), last_line=""))


def test_the_counts_fill_their_panel_and_no_more() -> None:
    for width in (40, 80, 101, 200):
        full = [line for line in drawn(channel(counts=[9] * 500), width) if "█" in line]
        assert len(full) == HEIGHT
        assert {line.count("█") for line in full} == {width // 2 - MARGIN}


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ([], ["1 ┤", "  ┤", "0 ┤"]),
        ([0, 24, 12, 6], ["24 ┤ █  ", "   ┤ █▄ ", " 0 ┤ ██▆"]),
        ([0, 0], ["1 ┤  ", "  ┤  ", "0 ┤  "]),
        ([1, 2, 3, 4, 5, 6], ["6 ┤ ▄█", "  ┤███", "0 ┤███"]),
    ],
)
def test_a_bar_chart_has_a_column_for_each_of_the_last_values(
    values: list[int], lines: list[str]
) -> None:
    assert bar_chart(values, 4 if len(values) < 6 else 3, 3) == lines


@given(
    values=st.lists(st.integers(min_value=0, max_value=2**63 - 1), max_size=50),
    width=st.integers(min_value=1, max_value=60),
    height=st.integers(min_value=2, max_value=12),
)
def test_a_column_is_as_high_as_its_value(values: list[int], width: int, height: int) -> None:
    lines = bar_chart(values, width, height)
    assert len(lines) == height
    bodies = [line.partition("┤")[2] for line in lines]
    shown = values[-width:]
    assert {len(body) for body in bodies} == {len(shown)}
    top = max([1, *shown])
    for place, value in enumerate(shown):
        high = sum(BLOCKS.index(body[place]) for body in bodies)
        assert abs(high - value * height * 8 / top) <= 1
