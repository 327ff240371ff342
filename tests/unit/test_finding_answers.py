"""Answers of services, which anybody may give."""

import json
from io import StringIO
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from rosey_dbsvc.cli import stats_view as statistics
from rosey_dbsvc.monitoring.finder import read

PING: dict[str, Any] = {"id": "x", "name": "n", "version": "1", "metadata": {"prefix": "rosey.db"}}
ENDPOINT: dict[str, Any] = {
    "name": "user_joined",
    "num_requests": 1,
    "num_errors": 0,
    "average_processing_time": 1,
    "last_error": "",
    "data": {"applied": 1, "last_commit": 1e9},
}
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
fields = st.fixed_dictionaries({}, optional=dict.fromkeys([*PING, "endpoints"], anything))
endpoints = st.fixed_dictionaries(
    {}, optional={name: st.just(value) | anything for name, value in ENDPOINT.items()}
)


def shown(service: dict[str, Any]) -> str:
    console = Console(file=StringIO(), width=200, force_terminal=True, no_color=True)
    console.print(statistics.show([service]))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@given(st.binary())
@example(b"[" * 100_000)
def test_any_bytes_are_an_answer_or_none(data: bytes) -> None:
    for verb in ("PING", "STATS"):
        assert read(data, verb) is None


@given(fields, st.lists(endpoints))
@example({}, [{**ENDPOINT, "data": {"last_commit": 2**62}}])
def test_what_is_taken_for_an_answer_can_be_shown(
    given_fields: dict[str, Any], given_endpoints: list[Any]
) -> None:
    service = {**PING, "endpoints": given_endpoints, **given_fields}
    answer = read(json.dumps(service).encode(), "STATS")
    if answer is not None:
        shown(answer)


def test_an_answer_is_taken_as_it_is() -> None:
    service = {**PING, "endpoints": [ENDPOINT], "started": "then"}
    assert read(json.dumps(service).encode(), "STATS") == service
    assert read(json.dumps(PING).encode(), "PING") == PING
    assert read(json.dumps(PING).encode(), "STATS") is None
    assert read(json.dumps({**PING, "id": ""}).encode(), "PING") is None


def test_an_escape_sequence_in_an_answer_is_shown_and_not_obeyed() -> None:
    endpoint = {**ENDPOINT, "name": "\x1b]0;owned\x07", "last_error": "[red]\x1b[2J"}
    text = shown({**PING, "version": "\x1b[2J", "endpoints": [endpoint]})
    assert "\x1b]" not in text
    assert "\x1b[2J" not in text
    assert r"[red]\x1b[2J" in text
