"""The contract as people and programs read it: the table of operations."""

import json
from typing import Any, Final

import msgspec

from rosey_dbsvc.operations.base import OPERATIONS, Event, Operation, Query

HEADINGS: Final = ("operation", "kind", "payload", "what it does")


def rows() -> list[tuple[str, str, str, str]]:
    """Return a row for each operation: its name, kind, payload and purpose."""
    return [(each.name, kind(each), payload(each), purpose(each)) for each in OPERATIONS]


def kind(operation: type[Operation]) -> str:
    """Return "event" or "query"."""
    return "event" if issubclass(operation, Event) else "query"


def purpose(operation: type[Operation]) -> str:
    """Return what the operation does, a sentence."""
    return (operation.__doc__ or "").partition("\n")[0]


def payload(operation: type[Operation]) -> str:
    """Return the fields of the payload; one with a default may be missing, one with `?` as well."""
    return ", ".join(_field(each) for each in msgspec.structs.fields(operation))


def _field(field: msgspec.structs.FieldInfo) -> str:
    if field.default is msgspec.UNSET:
        return f"{field.encode_name}?"
    if field.required:
        return field.encode_name
    return f"{field.encode_name} = {json.dumps(field.default)}"


def markdown() -> str:
    """Return the table for a document."""
    head = [HEADINGS, ("---",) * len(HEADINGS)]
    body = [(f"`{name}`", kind, f"`{payload}`", what) for name, kind, payload, what in rows()]
    return "\n".join(f"| {' | '.join(row)} |" for row in [*head, *body])


def operations_json() -> str:
    """Return the operations as JSON, each payload with its JSON Schema."""
    return json.dumps([_described(each) for each in OPERATIONS], indent=2)


def _described(operation: type[Operation]) -> dict[str, Any]:
    described = {
        "name": operation.name,
        "kind": kind(operation),
        "description": purpose(operation),
        "methods": operation.methods,
        "payload": msgspec.json.schema(operation),
    }
    if issubclass(operation, Query):
        described["reply"] = msgspec.json.schema(list[operation.row])  # type: ignore[name-defined]
    return described


def print_operations() -> None:
    """Print the table, as wide as the terminal; plain lines with tabs where there is none."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        print(*("\t".join(row) for row in [HEADINGS, *rows()]), sep="\n")  # noqa: T201
        return
    table = Table(*HEADINGS)
    for row in rows():
        table.add_row(*row)
    console.print(table)
