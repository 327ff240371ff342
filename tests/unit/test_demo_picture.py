"""What a demo looks like."""

from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rosey_dbsvc.cli.demo.picture import HEIGHT, Moment, columns, picture
from rosey_dbsvc.cli.demo.plot import BLOCKS, plot

MOMENT = Moment(
    title="a channel",
    numbers="12 s",
    trouble="",
    is_over=False,
    path="",
    present=[],
    history=[],
    recent=[],
    waiting=[],
    sent=[],
)

texts = st.text(max_size=300)
messages = st.lists(
    st.builds(lambda text: {"id": 1, "timestamp": 1, "message": text, "retry_count": 0}, texts),
    max_size=20,
)


def drawn(moment: Moment, width: int = 80) -> list[str]:
    console = Console(file=StringIO(), width=width, force_terminal=True, no_color=True)
    console.print(picture(moment, width))
    assert isinstance(console.file, StringIO)
    plain = console.file.getvalue().replace("\x1b[0m", "").replace("\x1b[1m", "")
    return plain.replace("\x1b[2m", "").replace("\x1b[1;2m", "").splitlines()


def message(text: str) -> Any:
    return {"id": 1, "timestamp": 1, "message": text, "retry_count": 0, "last_error": None}


@given(
    present=st.lists(texts, max_size=100),
    history=st.lists(st.integers(min_value=0, max_value=2**63 - 1), max_size=200),
    said=st.lists(st.tuples(texts, texts), max_size=20),
    waiting=messages,
    sent=messages,
    trouble=texts,
    width=st.integers(min_value=40, max_value=200),
)
def test_whatever_is_said_it_has_its_place_and_moves_no_cursor(
    present: list[str],
    history: list[int],
    said: list[tuple[str, str]],
    waiting: list[Any],
    sent: list[Any],
    trouble: str,
    width: int,
) -> None:
    recent: Any = [{"timestamp": 1, "username": name, "message": text} for name, text in said]
    moment = MOMENT._replace(
        present=present,
        history=history,
        recent=recent,
        waiting=waiting,
        sent=sent,
        trouble=trouble,
    )
    lines = drawn(moment, width)
    assert len(lines) == 2 * (HEIGHT + 2) + 3 + bool(trouble)
    assert not any("\x1b" in line for line in lines)


def test_an_escape_sequence_is_shown_and_not_obeyed() -> None:
    said: Any = {"timestamp": 1, "username": "mallory", "message": "\x1b]0;owned\x07[red]"}
    shown = "\n".join(drawn(MOMENT._replace(recent=[said])))
    assert r"mallory \x1b]0;owned\x07[red]" in shown


def test_what_waits_in_the_queue_goes_before_what_is_sent() -> None:
    waiting = [message(f"waiting {number}") for number in range(20)]
    sent = [message(f"sent {number}") for number in range(8)]
    shown = "\n".join(drawn(MOMENT._replace(waiting=waiting, sent=sent)))
    assert "outbound queue: 20 waiting" in shown
    assert "✓ sent 7" in shown
    assert "✓ sent 6" not in shown
    assert shown.count("… waiting") == HEIGHT - 1


def test_a_queue_that_is_out_shows_what_was_sent() -> None:
    sent = [message(f"sent {number}") for number in range(8)]
    shown = "\n".join(drawn(MOMENT._replace(sent=sent)))
    assert [f"✓ sent {number}" in shown for number in range(8)] == [True] * 8


def test_where_the_people_are_from_is_said() -> None:
    assert "as told" in "\n".join(drawn(MOMENT))
    in_file = "\n".join(drawn(MOMENT._replace(path="/x/bot.db")))
    assert "in the file" in in_file
    assert "Ctrl-C ends it, the file is /x/bot.db" in in_file


def test_when_it_is_over_nothing_is_left_to_end() -> None:
    over = "\n".join(drawn(MOMENT._replace(is_over=True, path="/x/bot.db")))
    assert "Ctrl-C" not in over
    assert "/x/bot.db" not in over


def test_the_counts_fill_their_panel_and_no_more() -> None:
    for width in (40, 80, 101, 200):
        lines = drawn(MOMENT._replace(history=[9] * 500), width)
        full = [line for line in lines if "█" in line]
        assert len(full) == HEIGHT
        assert {line.count("█") for line in full} == {columns(width)}


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ([], ["1 ┤", "  ┤", "0 ┤"]),
        ([0, 24, 12, 6], ["24 ┤ █  ", "   ┤ █▄ ", " 0 ┤ ██▆"]),
        ([0, 0], ["1 ┤  ", "  ┤  ", "0 ┤  "]),
        ([1, 2, 3, 4, 5, 6], ["6 ┤ ▄█", "  ┤███", "0 ┤███"]),
    ],
)
def test_counts_are_columns(values: list[int], lines: list[str]) -> None:
    assert plot(values, 4 if len(values) < 6 else 3, 3) == lines


@given(
    values=st.lists(st.integers(min_value=0, max_value=2**63 - 1), max_size=50),
    width=st.integers(min_value=1, max_value=60),
    height=st.integers(min_value=2, max_value=12),
)
def test_a_column_is_as_high_as_its_count(values: list[int], width: int, height: int) -> None:
    lines = plot(values, width, height)
    assert len(lines) == height
    bodies = [line.partition("┤")[2] for line in lines]
    shown = values[-width:]
    assert {len(body) for body in bodies} == {len(shown)}
    top = max([1, *shown])
    for place, value in enumerate(shown):
        high = sum(BLOCKS.index(body[place]) for body in bodies)
        assert abs(high - value * height * 8 / top) <= 1
