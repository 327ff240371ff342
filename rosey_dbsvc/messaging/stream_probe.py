"""The question how far a stream is, asked in the way that events come.

It is a line of chat without text, which this contract ignores, and which expects a last sequence
that no stream has. So it waits in line behind all that was published before, is never stored, and
is refused with the sequence. (A request for STREAM.INFO overtakes what is not stored yet.)
"""

import re
from typing import Final

import msgspec
from msgspec import Struct

from rosey_dbsvc.operations.base import MessageLog

QUESTION: Final = b'{"username": "rosey-dbsvc", "message": ""}'
NEVER: Final = str(2**63 - 1)
ANSWER: Final = re.compile(r"wrong last sequence: (\d{1,19})(?!\d)")

ITS_OWN: Final = 500
"""From this code on, an error is of the server's own, and may pass."""


def subject(prefix: str) -> str:
    """Return where it is asked."""
    return f"{prefix}.{MessageLog.name}"


def headers(stream: str = "") -> dict[str, str]:
    """Return what makes it a question, to that stream or to whichever takes events."""
    expected = {"Nats-Expected-Last-Sequence": NEVER}
    return {**expected, "Nats-Expected-Stream": stream} if stream else expected


def read_answer(data: bytes) -> int | None:
    """Return the last sequence, None if what answers is no stream, or another."""
    error = _read(data)
    found = ANSWER.search(error.description) if error else None
    return int(found[1]) if found else None


def may_pass(data: bytes) -> bool:
    """Return whether JetStream answers that it cannot now."""
    error = _read(data)
    return error is not None and error.code >= ITS_OWN


class Error(Struct):
    """What JetStream says is wrong."""

    description: str
    code: int = 0


class Refusal(Struct):
    """How it answers then."""

    error: Error


def _read(data: bytes) -> Error | None:
    try:
        return msgspec.json.decode(data, type=Refusal).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
