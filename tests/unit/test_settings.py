"""Settings: which values are accepted, and the error for any other."""

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
    format_duration,
    parse_address,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7d", 604_800), ("12h", 43_200), ("30m", 1800), ("90s", 90), ("0", 0), ("1.5h", 5400)],
)
def test_a_duration_has_a_unit_or_is_in_seconds(text: str, seconds: int) -> None:
    assert parse_duration(text, "every") == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("", UNLIMITED), ("1000", 1000), ("500M", 500 * 2**20), ("2G", 2**31), ("1kb", 1024)],
)
def test_a_size_may_have_a_unit(text: str, size: int) -> None:
    assert parse_size(text, "max_bytes") == size


@given(st.text())
def test_any_other_text_is_refused_in_one_line(text: str) -> None:
    for parse in (parse_duration, parse_size, parse_address):
        try:
            parse(text, "field")
        except InvalidSettings as refused:
            assert str(refused).isprintable()


@pytest.mark.parametrize("text", ["127.0.0.1:9464", "localhost:0", "[::1]:65535"])
def test_an_address_is_shown_as_it_was_given(text: str) -> None:
    assert str(parse_address(text, "metrics")) == text


@given(st.integers(1, 36_500), st.sampled_from("smhd"))
def test_a_duration_is_shown_as_it_can_be_given(number: int, unit: str) -> None:
    seconds = parse_duration(f"{number}{unit}", "every")
    assert parse_duration(format_duration(seconds), "every") == seconds


@pytest.mark.parametrize("text", ["36501d", "999999999d"])
def test_a_duration_is_limited_as_the_server_limits_it(text: str) -> None:
    with pytest.raises(InvalidSettings, match="`every`: expected at most 36500d"):
        parse_duration(text, "every")


@pytest.mark.parametrize(
    "wrong",
    [
        {"stream": "a.b"},
        {"stream": ""},
        {"replicas": 0},
        {"replicas": 6},
        {"max_age": -1},
        {"max_age": 119},
    ],
)
def test_an_invalid_field_of_the_durable_mode_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings, match=f"`{next(iter(wrong))}`: expected"):
        Durable(**wrong)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"durable": True}, "`durable`: Expected `object | null`, got `bool`"),
        ({"maintain_every": "24h"}, "`maintain_every`: Expected `float`, got `str`"),
        ({"nats_urls": "nats://localhost"}, "`nats_urls`: Expected `array`, got `str`"),
        ({"db_path": Path("bot_data.db")}, "`db_path`: Expected `str`, got `PosixPath`"),
        ({"local_port": 0}, "`local_port`: expected 1 to 65535"),
        ({"local_port": 65536}, "`local_port`: expected 1 to 65535"),
        ({"metrics": Address("localhost", 70_000)}, "`metrics`: expected a port of 0 to 65535"),
        ({"metrics": Address("localhost", -1)}, "`metrics`: expected a port of 0 to 65535"),
        ({"prefix": 7}, "`prefix`: Expected `str`, got `int`"),
    ],
)
def test_an_invalid_setting_is_named_in_one_line(given: Any, said: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        Settings(**given)
    assert str(refused.value) == said


def test_a_field_of_another_type_is_named() -> None:
    with pytest.raises(InvalidSettings, match="`replicas`: Expected `int`, got `str`"):
        Durable(replicas="3")  # type: ignore[arg-type]


def test_a_list_of_urls_is_accepted() -> None:
    urls: Any = ["nats://one", "nats://two"]
    assert Settings(nats_urls=urls, stop_timeout=5).nats_urls == ("nats://one", "nats://two")
