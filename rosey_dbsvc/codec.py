"""Bytes to payloads, rows to bytes, and errors to headers."""

from functools import cache
from typing import Any, Final, TypeVar

import msgspec

from rosey_dbsvc.contract import Operation
from rosey_dbsvc.errors import DbsvcError, InvalidPayload

ERROR: Final = "Nats-Service-Error"
ERROR_CODE: Final = "Nats-Service-Error-Code"

T = TypeVar("T", bound=Operation)

NO_ROWS: Final = b"[]"
"""The body of a failure, as the specification has it, so that an old client keeps working."""


@cache
def _decoder(operation: type[T]) -> msgspec.json.Decoder[T]:
    return msgspec.json.Decoder(operation)


def decode(operation: type[T], data: bytes) -> T:
    """Return the payload of a message.

    Raises InvalidPayload, in one line that says what is wrong and where, and quotes nothing.
    """
    try:
        payload: T = _decoder(operation).decode(data.decode())
    except UnicodeDecodeError:
        raise InvalidPayload("the text is not UTF-8") from None
    except RecursionError:
        raise InvalidPayload("nested too deeply") from None
    except msgspec.DecodeError as error:
        raise InvalidPayload(shorten(str(error))) from None
    return payload


def encode(rows: Any) -> bytes:  # noqa: ANN401  whatever a database returned
    """Return rows as JSON. Raises TypeError or ValueError for what JSON does not know."""
    return msgspec.json.encode(rows, enc_hook=_plain)


def _plain(value: object) -> object:
    """Make a mapping or sequence of another kind, such as a sqlite3.Row, one that JSON knows."""
    if hasattr(value, "keys"):
        return {key: value[key] for key in value.keys()}  # type: ignore[index]  # noqa: SIM118  a Row iterates values
    raise TypeError(f"a database returned a {type(value).__name__}, which is not JSON")


def error_headers(error: DbsvcError) -> dict[str, str]:
    """Return what tells a requester that the empty reply is a failure (ADR-32)."""
    return {ERROR: str(error), ERROR_CODE: str(error.code)}


def shorten(text: str, most: int = 200) -> str:
    """Return the text on one line and at most `most` characters of it: it may be a stranger's."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:most])
    return shown if len(text) <= most else f"{shown}…"
