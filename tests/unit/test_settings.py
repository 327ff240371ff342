"""What may be set, and what not."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosey_dbsvc.errors import InvalidSettings
from rosey_dbsvc.settings import (
    UNLIMITED,
    Address,
    Durable,
    Settings,
    parse_address,
    parse_age,
    parse_size,
    show_age,
)


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


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"durable": True}, "durable: Expected `object | null`, got `bool`"),
        ({"maintain_every": "24h"}, "maintain_every: Expected `float`, got `str`"),
        ({"nats_urls": "nats://localhost"}, "nats_urls: Expected `array`, got `str`"),
        ({"db_path": Path("bot_data.db")}, "db_path: Expected `str`, got `PosixPath`"),
        ({"local_port": 0}, "--local-port takes 1 to 65535"),
        ({"local_port": 65536}, "--local-port takes 1 to 65535"),
        ({"metrics": Address("localhost", 70_000)}, "--metrics-address takes a port of 0 to 65535"),
        ({"metrics": Address("localhost", -1)}, "--metrics-address takes a port of 0 to 65535"),
        ({"prefix": 7}, "prefix: Expected `str`, got `int`"),
    ],
)
def test_a_setting_of_another_kind_is_refused_in_one_line(given: Any, said: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        Settings(**given)
    assert str(refused.value) == said


def test_a_stream_that_is_set_to_something_else_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="replicas: Expected `int`, got `str`"):
        Durable(replicas="3")  # type: ignore[arg-type]


def test_a_list_of_urls_will_do() -> None:
    urls: Any = ["nats://one", "nats://two"]
    assert Settings(nats_urls=urls, stop_timeout=5).nats_urls == ("nats://one", "nats://two")
