"""The operations, and what their payloads accept and reject."""

import msgspec
import pytest
from support.golden import BAD_BYTES, FOLDER, Case, accepted, golden, rejected

from rosey_dbsvc.errors import InvalidPayload
from rosey_dbsvc.operations import OPERATIONS
from rosey_dbsvc.operations.base import Operation
from rosey_dbsvc.operations.codec import decode

SUBJECTS_OF_THE_SPECIFICATION = {
    "user.joined",
    "user.left",
    "message.log",
    "stats.user_count",
    "stats.high_water",
    "status.update",
    "messages.outbound.mark_sent",
    "messages.outbound.get",
    "stats.recent_chat.get",
}


def test_the_operations_are_those_of_the_specification() -> None:
    assert {each.name for each in OPERATIONS} == SUBJECTS_OF_THE_SPECIFICATION


def test_each_operation_has_a_golden_file_and_no_file_is_left_over() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == {each.name for each in OPERATIONS}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_operation_has_a_description_and_cases_of_both_kinds(
    operation: type[Operation],
) -> None:
    assert operation.__doc__
    assert golden(operation)["accepted"]
    assert golden(operation)["rejected"]


@pytest.mark.parametrize("case", accepted())
def test_a_payload_of_either_dialect_is_accepted(case: Case) -> None:
    assert isinstance(decode(case.operation, case.payload), case.operation)


@pytest.mark.parametrize("case", rejected())
def test_a_rejected_payload_gets_a_message_that_says_what_is_wrong_and_where(case: Case) -> None:
    with pytest.raises(InvalidPayload) as caught:
        decode(case.operation, case.payload)
    assert str(caught.value) == case.expected["says"]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("data", BAD_BYTES, ids=lambda data: repr(data[:20]))
def test_bytes_that_are_no_json_object_are_rejected(
    operation: type[Operation], data: bytes
) -> None:
    with pytest.raises(InvalidPayload):
        decode(operation, data)


def test_an_operation_cannot_be_changed() -> None:
    event = decode(OPERATIONS[0], b'{"username": "alice"}')
    with pytest.raises(AttributeError):
        event.username = "bob"  # type: ignore[attr-defined]


def test_the_schema_of_each_payload_is_an_object() -> None:
    for operation in OPERATIONS:
        schema = msgspec.json.schema(operation)
        assert schema["$defs"][operation.__name__]["type"] == "object"
