"""Replies to discovery requests, which anybody can send."""

import json
from io import StringIO
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from rosey_dbsvc.cli import stats_view
from rosey_dbsvc.monitoring import adr32

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
    console.print(stats_view.show([service]))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@given(st.binary())
@example(b"[" * 100_000)
def test_any_bytes_are_a_reply_or_none(data: bytes) -> None:
    for verb in ("PING", "STATS"):
        assert adr32.decode(verb, data) is None


@given(fields, st.lists(endpoints))
@example({}, [{**ENDPOINT, "data": {"last_commit": 2**62}}])
def test_every_valid_reply_can_be_shown(
    given_fields: dict[str, Any], given_endpoints: list[Any]
) -> None:
    service = {**PING, "endpoints": given_endpoints, **given_fields}
    reply = adr32.decode("STATS", json.dumps(service).encode())
    if reply is not None:
        shown(reply)


def test_a_reply_keeps_all_its_fields() -> None:
    service = {**PING, "endpoints": [ENDPOINT], "started": "then"}
    assert adr32.decode("STATS", json.dumps(service).encode()) == service
    assert adr32.decode("PING", json.dumps(PING).encode()) == PING
    assert adr32.decode("STATS", json.dumps(PING).encode()) is None
    assert adr32.decode("PING", json.dumps({**PING, "id": ""}).encode()) is None


def test_an_escape_sequence_in_a_reply_is_escaped() -> None:
    endpoint = {**ENDPOINT, "name": "\x1b]0;owned\x07", "last_error": "[red]\x1b[2J"}
    text = shown({**PING, "version": "\x1b[2J", "endpoints": [endpoint]})
    assert "\x1b]" not in text
    assert "\x1b[2J" not in text
    assert r"[red]\x1b[2J" in text
