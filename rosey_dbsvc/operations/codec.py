"""Bytes to payloads, rows to bytes, and errors to headers."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final, TypeVar

import msgspec

from rosey_dbsvc.errors import DbsvcError, InvalidPayload, ReplyTooLarge, UnknownReply
from rosey_dbsvc.operations.base import Operation

ERROR: Final = "Nats-Service-Error"
ERROR_CODE: Final = "Nats-Service-Error-Code"
STALE: Final = "Rosey-Stale"
"""By how many events an answer is behind the stream, or that this is not known."""

T = TypeVar("T", bound=Operation)
R = TypeVar("R")

NO_PAYLOAD: Final = "there is no payload: send {} at least"
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
        raise InvalidPayload(shorten(str(error)) if data else NO_PAYLOAD) from None
    return payload


def pack(operation: type[Operation], fields: Mapping[str, object]) -> bytes:
    """Return the payload with these fields. Raises InvalidPayload as `decode` would."""
    try:
        made = msgspec.convert(fields, operation)
        payload = msgspec.json.encode(made, enc_hook=_text)
    except (msgspec.ValidationError, UnicodeEncodeError, TypeError) as error:
        raise InvalidPayload(shorten(str(error))) from None
    if decode(operation, payload) != made:  # there are numbers that JSON does not know
        raise InvalidPayload("not every value is one that JSON knows")
    return payload


def _text(value: object) -> str:
    """Return what a class of somebody's own makes of text as just that."""
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} is no text")
    return str.__str__(value)


def unpack(rows: type[R], data: bytes) -> R:
    """Return the rows of a reply. Raises UnknownReply if they are not of this kind."""
    try:
        return msgspec.json.decode(data, type=rows)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnknownReply(f"the reply is none that is known: {shorten(str(error))}") from None


def encode(rows: Iterable[object], most: int) -> bytes:
    """Return rows as a JSON array of at most so many bytes.

    Row by row, so that very large ones do not keep the event loop from running. Raises
    ReplyTooLarge, and TypeError or ValueError for what JSON does not know.
    """
    parts: list[bytes] = []
    size = len(NO_ROWS)
    for row in rows:
        parts.append(_encoder.encode(row))
        size += len(parts[-1]) + bool(size > len(NO_ROWS))
        if size > most:
            raise ReplyTooLarge
    return b"[" + b",".join(parts) + b"]"


def _plain(value: object) -> object:
    """Make a mapping or sequence of another kind, such as a sqlite3.Row, one that JSON knows."""
    if hasattr(value, "keys"):
        return {key: value[key] for key in value.keys()}  # type: ignore[index]  # noqa: SIM118  a Row iterates values
    raise TypeError(f"a database returned a {type(value).__name__}, which is not JSON")


_encoder: Final = msgspec.json.Encoder(enc_hook=_plain)


def error_headers(error: DbsvcError) -> dict[str, str]:
    """Return what tells a requester that the empty reply is a failure (ADR-32)."""
    return {ERROR: str(error), ERROR_CODE: str(error.code)}


def shorten(text: str, most: int = 200) -> str:
    """Return the text on one line and at most `most` characters of it: it may be a stranger's."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:most])
    return shown if len(text) <= most else f"{shown}…"
