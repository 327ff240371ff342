"""Payloads and replies as bytes."""

import json
import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.golden import golden

from rosey_dbsvc._text import shorten
from rosey_dbsvc.errors import InvalidPayload, ReplyTooLarge
from rosey_dbsvc.operations import OPERATIONS
from rosey_dbsvc.operations.base import Operation
from rosey_dbsvc.operations.codec import decode, encode_rows, error_headers

any_operation = st.sampled_from(OPERATIONS)
any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)
field_names = sorted({field for each in OPERATIONS for field in each.__struct_fields__})


@given(any_operation, st.binary())
def test_any_bytes_are_a_payload_or_are_rejected_in_one_line(
    operation: type[Operation], data: bytes
) -> None:
    _is_payload_or_rejected(operation, data)


@given(any_operation, st.dictionaries(st.sampled_from(field_names) | st.text(), any_json))
def test_any_object_is_a_payload_or_is_rejected_in_one_line(
    operation: type[Operation], fields: dict[str, Any]
) -> None:
    _is_payload_or_rejected(operation, json.dumps(fields).encode())


def _is_payload_or_rejected(operation: type[Operation], data: bytes) -> None:
    try:
        assert isinstance(decode(operation, data), operation)
    except InvalidPayload as error:
        assert str(error).isprintable()
        assert len(str(error)) < 250


accepted_payloads = any_operation.flatmap(
    lambda each: st.tuples(st.just(each), st.sampled_from(golden(each)["accepted"]))
)


@given(
    accepted_payloads, st.dictionaries(st.text().filter(lambda s: s not in field_names), any_json)
)
def test_unknown_fields_are_ignored(
    accepted: tuple[type[Operation], dict[str, Any]], extras: dict[str, Any]
) -> None:
    operation, case = accepted
    bare = json.dumps(case["payload"]).encode()
    extended = json.dumps({**extras, **case["payload"]}).encode()
    assert decode(operation, extended) == decode(operation, bare)


@given(st.text())
def test_an_untrusted_text_is_shown_on_one_line_of_bounded_length(text: str) -> None:
    assert shorten(text, 50).isprintable()
    assert len(shorten(text[:5], 50)) <= 50
    assert text[:50] != text or not text.isprintable() or shorten(text, 50) == text


def test_an_error_becomes_two_headers() -> None:
    assert error_headers(ReplyTooLarge()) == {
        "Nats-Service-Error": "The reply is larger than the server's max_payload: request less.",
        "Nats-Service-Error-Code": "413",
    }


def test_rows_of_sqlite_are_encoded_as_objects() -> None:
    conn = sqlite3.connect(":memory:")
    conn.row_factory = sqlite3.Row
    rows = conn.execute("SELECT 1 AS id, 'hi' AS message").fetchall()
    conn.close()
    assert encode_rows(rows, 100) == b'[{"id":1,"message":"hi"}]'


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers(0, 9))))
def test_rows_are_encoded_up_to_a_size_and_not_beyond(rows: list[dict[str, Any]]) -> None:
    encoded = encode_rows(rows, 10**9)
    assert json.loads(encoded) == rows
    assert encode_rows(rows, len(encoded)) == encoded
    with pytest.raises(ReplyTooLarge):
        encode_rows([*rows, {}], len(encoded))


def test_a_value_that_json_does_not_have_is_an_error_that_says_so() -> None:
    with pytest.raises(TypeError, match="returned a object, which JSON does not have"):
        encode_rows([object()], 100)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_empty_payload_has_a_message_of_its_own(operation: type[Operation]) -> None:
    with pytest.raises(InvalidPayload, match=r"the payload is empty: send at least \{\}"):
        decode(operation, b"")
