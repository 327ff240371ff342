"""The kinds of operations, and the types of their fields.

A class is decoded from the payload, so its fields are the validation rules. Hundreds of thousands
of instances can be pending at once. They cannot be part of reference cycles, so `gc=False` keeps
the garbage collector from scanning them (it took a quarter of the time).
"""

from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct

MAX_INTEGER: Final = 2**63 - 1  # largest integer of SQLite
MAX_MESSAGE_BYTES: Final = 64 * 1024

Username = Annotated[str, Meta(min_length=1, max_length=255)]
Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Id = Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
Limit = Annotated[int, Meta(ge=1, le=1000)]
Text = Annotated[str, Meta(max_length=MAX_MESSAGE_BYTES)]
Number = Annotated[int, Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)] | float | None
Flag = bool | Count | None


class Operation(Struct, frozen=True, gc=False):
    """An operation of the service: the payload of a message to one subject."""

    kind: ClassVar[str]
    """Kind as shown in documentation and discovery: "event" or "query"."""
    name: ClassVar[str]
    """Subject without the prefix. A token in braces, like `{plugin}`, matches any token."""


class Event(Operation, frozen=True, gc=False):
    """An operation that is published and changes the database."""

    kind = "event"

    def log_line(self) -> str:
        """Return a line to log at INFO when the event arrives; empty for none."""
        return ""


class Query(Operation, frozen=True, gc=False):
    """An operation that is requested and answered with rows."""

    kind = "query"
    row: ClassVar[type]
    """Type of a row of the reply. An adopted database may return other rows."""
