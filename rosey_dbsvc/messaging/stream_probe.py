"""Probe of a stream's last sequence, which takes the way of the events.

It is an empty chat message, which the contract ignores, and expects a last sequence that no stream
has. So it queues behind everything published before it, is not stored, and is refused with the
last sequence in the reply. (A STREAM.INFO request overtakes events that are not stored yet.)
"""

import re
from typing import Final

import msgspec
from msgspec import Struct

from rosey_dbsvc.operations.chat import MessageLog

PAYLOAD: Final = b'{"username": "rosey-dbsvc", "message": ""}'
IMPOSSIBLE_SEQUENCE: Final = str(2**63 - 1)
LAST_SEQUENCE: Final = re.compile(r"wrong last sequence: (\d{1,19})(?!\d)")
SERVER_ERROR: Final = 500  # smallest code of JetStream's errors that may pass


def subject(prefix: str) -> str:
    """Return the subject of the probe."""
    return f"{prefix}.{MessageLog.name}"


def headers(stream: str = "") -> dict[str, str]:
    """Return the headers of a probe, for this stream or for any that captures the subject."""
    expected = {"Nats-Expected-Last-Sequence": IMPOSSIBLE_SEQUENCE}
    return {**expected, "Nats-Expected-Stream": stream} if stream else expected


def last_sequence(data: bytes) -> int | None:
    """Return the last sequence in a reply, None if it is not from (this) stream."""
    error = _decode(data)
    found = LAST_SEQUENCE.search(error.description) if error else None
    return int(found[1]) if found else None


def is_transient(data: bytes) -> bool:
    """Return whether the reply is an error of JetStream that may pass."""
    error = _decode(data)
    return error is not None and error.code >= SERVER_ERROR


class _Error(Struct):
    description: str
    code: int = 0


class _Refusal(Struct):
    error: _Error


def _decode(data: bytes) -> _Error | None:
    try:
        return msgspec.json.decode(data, type=_Refusal).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
