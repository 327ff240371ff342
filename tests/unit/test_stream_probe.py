"""The question how far a stream is, and whatever is answered."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from rosey_dbsvc.messaging import stream_probe
from rosey_dbsvc.operations import codec
from rosey_dbsvc.operations.chat import MessageLog

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("error"), inner),
    max_leaves=5,
)


def test_a_service_without_a_stream_takes_it_for_a_line_without_text() -> None:
    asked = codec.decode(MessageLog, stream_probe.PAYLOAD)
    assert asked.message == ""
    assert stream_probe.subject("rosey.db") == "rosey.db.message.log"


def test_it_is_for_that_stream_if_one_is_named() -> None:
    assert stream_probe.headers("ROSEY_DB")["Nats-Expected-Stream"] == "ROSEY_DB"
    assert "Nats-Expected-Stream" not in stream_probe.headers()


def test_the_refusal_of_a_stream_is_the_answer() -> None:
    refusal = {"error": {"code": 400, "description": "wrong last sequence: 41"}, "seq": 0}
    assert stream_probe.last_sequence(json.dumps(refusal).encode()) == 41


def test_an_error_of_the_server_s_own_may_pass() -> None:
    assert stream_probe.is_transient(b'{"error": {"code": 503, "description": "unavailable"}}')
    assert not stream_probe.is_transient(b'{"error": {"code": 400, "description": "wrong"}}')


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
@example(b'{"error": {"description": 7}}')
@example(b'{"error": "wrong last sequence: 41"}')
@example(b'{"stream": "ROSEY_DB", "seq": 42}')
@example(b"[" * 100_000)
@example(b'{"error": {"description": "wrong last sequence: ' + b"9" * 5_000 + b'"}}')
def test_whatever_else_is_answered_is_none(data: bytes) -> None:
    assert stream_probe.last_sequence(data) is None
    assert not stream_probe.is_transient(data)
