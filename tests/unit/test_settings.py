"""What may be set, and what not."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosey_dbsvc.errors import InvalidSettings
from rosey_dbsvc.settings import UNLIMITED, Durable, parse_address, parse_age, parse_size, show_age


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7d", 604_800), ("12h", 43_200), ("30m", 1800), ("90s", 90), ("0", 0)],
)
def test_an_age_has_a_unit(text: str, seconds: int) -> None:
    assert parse_age(text, "--every") == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("", UNLIMITED), ("1000", 1000), ("500M", 500 * 2**20), ("2G", 2**31), ("1kb", 1024)],
)
def test_a_size_may_have_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.text())
def test_any_other_text_is_refused_in_one_line(text: str) -> None:
    for parse in (partial(parse_age, flag="--every"), parse_size, parse_address):
        try:
            parse(text)
        except InvalidSettings as refused:
            assert str(refused).isprintable()


@pytest.mark.parametrize("text", ["127.0.0.1:9464", "localhost:0", "[::1]:65535"])
def test_an_address_is_shown_as_it_was_given(text: str) -> None:
    assert str(parse_address(text)) == text


@given(st.integers(1, 36_500), st.sampled_from("smhd"))
def test_an_age_is_shown_as_it_can_be_given(number: int, unit: str) -> None:
    seconds = parse_age(f"{number}{unit}", "--every")
    assert parse_age(show_age(seconds), "--every") == seconds


@pytest.mark.parametrize("text", ["36501d", "999999999d"])
def test_an_age_has_an_end_as_the_server_has_it(text: str) -> None:
    with pytest.raises(InvalidSettings, match="--every takes at most 36500d"):
        parse_age(text, "--every")


@pytest.mark.parametrize("wrong", [{"stream": "a.b"}, {"stream": ""}, {"replicas": 0}])
def test_a_stream_that_cannot_be_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings, match="--stream"):
        Durable(**wrong)  # type: ignore[arg-type]
