"""Messages of NATS's service protocol (ADR-32), for the service and for those who find it."""

from importlib.metadata import version
from typing import Annotated, Any, Final, TypedDict

import msgspec
from msgspec import Meta

from rosey_dbsvc.messaging.connection import NAME

VERSION: Final = version(NAME)

Reply = dict[str, Any]  # a decoded reply, with all its fields
Number = Annotated[float, Meta(ge=0, le=2**63)]


class Identity(TypedDict):
    """Fields of every reply. The protocol has more."""

    id: Annotated[str, Meta(min_length=1)]
    name: str
    version: str
    metadata: dict[str, str]


class Endpoint(TypedDict):
    """Statistics of an operation. Times are in nanoseconds."""

    name: str
    num_requests: Number
    num_errors: Number
    average_processing_time: Number
    last_error: str
    data: dict[str, Number]


class Stats(Identity):
    """Fields of a reply to STATS."""

    endpoints: Annotated[list[Endpoint], Meta(min_length=1)]


REPLIES: Final = {"PING": Identity, "INFO": Identity, "STATS": Stats}
"""Required fields of the reply to each verb."""


def subject(verb: str, service_id: str = "") -> str:
    """Return the subject for requests to all our services, or to one."""
    return ".".join(filter(None, ("$SRV", verb, NAME, service_id)))


def encode(verb: str, fields: Reply) -> bytes:
    """Return a reply with its type."""
    return msgspec.json.encode({"type": f"io.nats.micro.v1.{verb.lower()}_response", **fields})


def decode(verb: str, data: bytes) -> Reply | None:
    """Return a reply with all its fields, None if it is not valid: anybody can send one."""
    try:
        reply: Reply = msgspec.json.decode(data)
        msgspec.convert(reply, REPLIES[verb])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return reply
