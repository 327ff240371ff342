"""The question how far a stream is, asked in the way that events come.

It is a line of chat without text, which this contract ignores, and which expects a last sequence
that no stream has. So it waits in line behind all that was published before, is never stored, and
is refused with the sequence. (A request for STREAM.INFO overtakes what is not stored yet.)
"""

import json
import re
from typing import Final

from rosey_dbsvc.contract import MessageLog

QUESTION: Final = b'{"username": "rosey-dbsvc", "message": ""}'
NEVER: Final = str(2**63 - 1)
ANSWER: Final = re.compile(r"wrong last sequence: (\d{1,19})(?!\d)")


def subject(prefix: str) -> str:
    """Return where it is asked."""
    return f"{prefix}.{MessageLog.name}"


def headers(stream: str = "") -> dict[str, str]:
    """Return what makes it a question, to that stream or to whichever takes events."""
    expected = {"Nats-Expected-Last-Sequence": NEVER}
    return {**expected, "Nats-Expected-Stream": stream} if stream else expected


def read_answer(data: bytes) -> int | None:
    """Return the last sequence, None if what answers is no stream, or another."""
    try:
        found = ANSWER.search(json.loads(data)["error"]["description"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return int(found[1]) if found else None
