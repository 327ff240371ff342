"""The operations as tables and JSON, for documentation and the command line."""

import json
from typing import Any, Final

import msgspec

from rosey_dbsvc.operations import OPERATIONS
from rosey_dbsvc.operations.base import Operation, Query

HEADINGS: Final = ("operation", "kind", "payload", "description")


def rows() -> list[tuple[str, str, str, str]]:
    """Return name, kind, payload and description of each operation."""
    return [(each.name, each.kind, payload(each), description(each)) for each in OPERATIONS]


def description(operation: type[Operation]) -> str:
    """Return the first line of the operation's docstring."""
    return (operation.__doc__ or "").partition("\n")[0]


def payload(operation: type[Operation]) -> str:
    """Return the payload's fields, with their defaults; `?` marks optional ones without."""
    return ", ".join(_field(each) for each in msgspec.structs.fields(operation))


def _field(field: msgspec.structs.FieldInfo) -> str:
    if field.default is msgspec.UNSET:
        return f"{field.encode_name}?"
    if field.required:
        return field.encode_name
    return f"{field.encode_name} = {json.dumps(field.default)}"


def markdown() -> str:
    """Return the operations as a Markdown table."""
    head = [HEADINGS, ("---",) * len(HEADINGS)]
    body = [(f"`{name}`", kind, f"`{fields}`", text) for name, kind, fields, text in rows()]
    return "\n".join(f"| {' | '.join(row)} |" for row in [*head, *body])


def operations_json() -> str:
    """Return the operations as JSON, with a JSON Schema of each payload and reply."""
    return json.dumps([_described(each) for each in OPERATIONS], indent=2)


def _described(operation: type[Operation]) -> dict[str, Any]:
    described = {
        "name": operation.name,
        "kind": operation.kind,
        "description": description(operation),
        "payload": msgspec.json.schema(operation),
    }
    if issubclass(operation, Query):
        described["reply"] = msgspec.json.schema(list[operation.row])  # type: ignore[name-defined]
    return described
