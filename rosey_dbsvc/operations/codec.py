"""Payloads, replies and error headers as bytes."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final, TypeVar

import msgspec

from rosey_dbsvc._text import shorten
from rosey_dbsvc.errors import DbsvcError, InvalidPayload, ReplyTooLarge, UnknownReply
from rosey_dbsvc.operations.base import Operation

ERROR: Final = "Nats-Service-Error"
ERROR_CODE: Final = "Nats-Service-Error-Code"
STALE: Final = "Rosey-Stale"
"""Header of a stale reply: number of events it is behind the stream, or "unknown"."""
HEADER_BLOCK: Final = b"NATS/1.0\r\n\r\n"
NO_ROWS: Final = b"[]"  # body of a failed query, by the specification
EMPTY_PAYLOAD: Final = "the payload is empty: send at least {}"

O = TypeVar("O", bound=Operation)  # noqa: E741
R = TypeVar("R")


@cache
def _decoder(operation: type[O]) -> msgspec.json.Decoder[O]:
    return msgspec.json.Decoder(operation)


def decode(operation: type[O], data: bytes) -> O:
    """Return the decoded payload of a message.

    Raises InvalidPayload, with a line that says what is wrong and where, and quotes nothing.
    """
    try:
        payload: O = _decoder(operation).decode(data.decode())
    except UnicodeDecodeError:
        raise InvalidPayload("the payload is not UTF-8") from None
    except RecursionError:
        raise InvalidPayload("the payload is nested too deeply") from None
    except msgspec.DecodeError as error:
        raise InvalidPayload(shorten(str(error)) if data else EMPTY_PAYLOAD) from None
    return payload


def encode_payload(operation: type[Operation], fields: Mapping[str, object]) -> bytes:
    """Return the payload with these fields. Raises InvalidPayload as `decode` would."""
    try:
        made = msgspec.convert(fields, operation)
        payload = msgspec.json.encode(made, enc_hook=_plain_string)
    except (msgspec.ValidationError, UnicodeEncodeError, TypeError) as error:
        raise InvalidPayload(shorten(str(error))) from None
    if decode(operation, payload) != made:  # JSON has no infinity and no NaN
        raise InvalidPayload("a value cannot be encoded as JSON")
    return payload


def _plain_string(value: object) -> str:
    """Convert an instance of a subclass of str."""
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} is not a string")
    return str.__str__(value)


def decode_reply(rows: type[R], data: bytes) -> R:
    """Return the rows of a reply. Raises UnknownReply if they are not of this type."""
    try:
        return msgspec.json.decode(data, type=rows)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnknownReply(f"the reply cannot be decoded: {shorten(str(error))}") from None


def encode_rows(rows: Iterable[object], max_bytes: int) -> bytes:
    """Return rows as a JSON array of at most `max_bytes`.

    Encodes row by row, so that other threads can run in between. Raises ReplyTooLarge, and
    TypeError or ValueError for a value that JSON does not have.
    """
    parts: list[bytes] = []
    size = len(NO_ROWS)
    for row in rows:
        parts.append(_encoder.encode(row))
        size += len(parts[-1]) + bool(size > len(NO_ROWS))
        if size > max_bytes:
            raise ReplyTooLarge
    return b"[" + b",".join(parts) + b"]"


def _plain_mapping(value: object) -> object:
    """Convert a mapping that msgspec does not know, such as a sqlite3.Row."""
    if hasattr(value, "keys"):
        return {key: value[key] for key in value.keys()}  # type: ignore[index]  # noqa: SIM118  a Row iterates values
    raise TypeError(f"the database returned a {type(value).__name__}, which JSON does not have")


_encoder: Final = msgspec.json.Encoder(enc_hook=_plain_mapping)


def size_of_headers(headers: Mapping[str, str]) -> int:
    """Return the size in bytes of a message's header block, which counts as payload."""
    if not headers:
        return 0
    return len(HEADER_BLOCK) + sum(len(f"{name}: {headers[name]}\r\n".encode()) for name in headers)


def error_headers(error: DbsvcError) -> dict[str, str]:
    """Return the headers that mark a reply as a failure (ADR-32)."""
    return {ERROR: str(error), ERROR_CODE: str(error.code)}
