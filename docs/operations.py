"""The Sphinx directive `operations`: a section per operation, made from the code."""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from rosey_dbsvc.operations import OPERATIONS
from rosey_dbsvc.operations.base import MAX_INTEGER, Operation, Query
from rosey_dbsvc.settings import DEFAULT_PREFIX
from rosey_dbsvc.storage.adopted_methods import METHODS, REQUIRED

GOLDEN: Final = Path(__file__).parents[1] / "tests" / "golden"

NAMES: Final = {"null": "`null`", "boolean": "`true` or `false`"}
LARGE: Final = {MAX_INTEGER: "2⁶³ - 1", -MAX_INTEGER: "-2⁶³ + 1"}

Schema = dict[str, Any]


class Operations(SphinxDirective):
    """A section per operation."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        text = "\n".join(line for each in OPERATIONS for line in section(each))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def section(operation: type[Operation]) -> Iterator[str]:
    """Yield the section of an operation as lines of Markdown."""
    yield from (f"## `{operation.name}`", "")
    yield f"*{operation.kind.capitalize()}* on the subject `{DEFAULT_PREFIX}.{operation.name}`"
    yield from ("", inspect.getdoc(operation) or "", "")
    yield from _payload(operation)
    yield from ("Example:", "", "```json", _example(operation), "```", "")
    if issubclass(operation, Query):
        yield from _reply(operation)
    yield from _methods(operation)


def _methods(operation: type[Operation]) -> Iterator[str]:
    names = METHODS[operation].names
    methods = " or ".join(f"`{name}`" for name in names)
    yield f"Method of the Python client: `DatabaseClient.{names[0]}`. "
    if operation in REQUIRED:
        yield from (f"An adopted database needs a method {methods}.", "")
    else:
        yield from (f"An adopted database may lack {methods}: then the event is ignored.", "")


def _payload(operation: type[Operation]) -> Iterator[str]:
    """Yield a table of the fields, and one for each object among them."""
    schemas = msgspec.json.schema(operation)["$defs"]
    payload = schemas.pop(operation.__name__)
    yield from ("| field | type | default |", "| --- | --- | --- |")
    for name, field in payload["properties"].items():
        default = f"`{json.dumps(field['default'])}`" if "default" in field else "*(optional)*"
        required = "*(required)*" if name in payload["required"] else default
        yield f"| `{name}` | {kind_of(field)} | {required} |"
    yield ""
    for title, schema in schemas.items():
        yield f"`{title}` is an object. All its fields are optional. {schema['description']}"
        yield from ("", *_fields(schema))


def _reply(query: type[Query]) -> Iterator[str]:
    row = msgspec.json.schema(query.row)["$defs"][query.row.__name__]
    description: str = row["description"]
    yield "The reply is an array. Each element is an object: "
    yield from (description[0].lower() + description[1:], "")
    yield from _fields(row)


def _fields(schema: Schema) -> Iterator[str]:
    yield from ("| field | type |", "| --- | --- |")
    for name, field in schema["properties"].items():
        yield f"| `{name}` | {kind_of(field)} |"
    yield ""


def kind_of(schema: Schema) -> str:
    """Return the type of a value in words, with its bounds."""
    if "anyOf" in schema:
        return ", or ".join(kind_of(each) for each in schema["anyOf"])
    if "$ref" in schema:
        return f"an object, `{schema['$ref'].rpartition('/')[2]}`"
    kind: str = schema["type"]
    bounds: list[str] = [schema["description"]] if "description" in schema else []
    if kind == "string":
        bounds += _range(schema.get("minLength"), schema.get("maxLength"), " characters")
    else:
        bounds += _range(schema.get("minimum"), schema.get("maximum"), "")
    return ", ".join([NAMES.get(kind, kind), *bounds])


def _range(least: int | None, most: int | None, unit: str) -> list[str]:
    if most is None:
        return []
    return [f"{_number(least or 0)} to {_number(most)}{unit}"]


def _number(value: int) -> str:
    return LARGE.get(value, f"{value:,}")


def _example(operation: type[Operation]) -> str:
    """Return the first payload that the tests have for the operation."""
    golden = json.loads((GOLDEN / f"{operation.name}.json").read_text(encoding="utf-8"))
    return json.dumps(golden["accepted"][0]["payload"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("operations", Operations)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
