"""From a subject to an operation."""

from hypothesis import example, given
from hypothesis import strategies as st

from rosey_dbsvc.operations import OPERATIONS
from rosey_dbsvc.operations.base import Event, Operation
from rosey_dbsvc.operations.router import Route, Router


class RowInsert(Event, frozen=True, gc=False):
    """An operation with a token."""

    name = "row.{plugin}.insert"


class RowSchema(Event, frozen=True, gc=False):
    """An operation whose name is the same with another token."""

    name = "row.schema.insert"


class CellSet(Event, frozen=True, gc=False):
    """An operation with two tokens."""

    name = "{plugin}.cell.{row}"


WITH_TOKENS: tuple[type[Operation], ...] = (*OPERATIONS, RowInsert, RowSchema, CellSet)
ROUTER = Router("rosey.db", WITH_TOKENS)

tokens = st.text(st.characters(exclude_characters="."), min_size=1)
any_subject = st.text() | st.lists(
    tokens | st.sampled_from(["rosey", "db", "row", "insert", "cell", "{plugin}", "", "*", ">"])
).map(".".join)


def test_each_operation_is_found_under_the_prefix_only() -> None:
    for router in (ROUTER, Router("rosey.db", OPERATIONS)):
        for operation in OPERATIONS:
            assert router.find(f"rosey.db.{operation.name}") == Route(operation, {})
            assert router.find(operation.name) is None
            assert router.find(f"other.db.{operation.name}") is None
            assert router.find(f"rosey.db.{operation.name}.more") is None


@given(tokens)
def test_a_token_in_braces_matches_any_token(token: str) -> None:
    expected = Route(RowInsert, {"plugin": token})
    if token == "schema":
        expected = Route(RowSchema, {})
    assert ROUTER.find(f"rosey.db.row.{token}.insert") == expected
    assert ROUTER.find(f"rosey.db.row.{token}.{token}.insert") is None


@given(tokens, tokens)
def test_each_token_has_its_name(plugin: str, row: str) -> None:
    found = ROUTER.find(f"rosey.db.{plugin}.cell.{row}")
    assert found == Route(CellSet, {"plugin": plugin, "row": row})


def test_an_exact_name_goes_before_a_pattern() -> None:
    assert ROUTER.find("rosey.db.row.schema.insert") == Route(RowSchema, {})


@given(any_subject | any_subject.map("rosey.db.{}".format))
@example("")
@example("rosey.db.")
@example("." * 1000)
def test_any_subject_has_the_operation_with_its_name_or_none(subject: str) -> None:
    found = ROUTER.find(subject)
    if found is not None:
        name = found.operation.name
        for token, value in found.tokens.items():
            name = name.replace(f"{{{token}}}", value)
        assert subject == f"rosey.db.{name}"
