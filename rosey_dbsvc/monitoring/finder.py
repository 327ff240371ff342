"""Services, asked for what they say of themselves."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypedDict, TypeVar

import anyio
import msgspec
from msgspec import Meta
from nats.aio.client import Client
from nats.errors import Error

from rosey_dbsvc.counters import Counts
from rosey_dbsvc.credentials import Credentials
from rosey_dbsvc.errors import DbsvcError, NotServed
from rosey_dbsvc.messaging.connection import NAME, connected, unsubscribed

WAIT: Final = 0.5
"""How long services have to answer when all of them are asked for, in seconds."""

T = TypeVar("T")


Service = dict[str, Any]
"""What one says of itself, as it is."""

Number = Annotated[float, Meta(ge=0, le=2**63)]


class Answer(TypedDict):
    """What has to be in each answer; the protocol has more."""

    id: Annotated[str, Meta(min_length=1)]
    name: str
    version: str
    metadata: dict[str, str]


class Endpoint(TypedDict):
    """What has to be told of an operation."""

    name: str
    num_requests: Number
    num_errors: Number
    average_processing_time: Number
    last_error: str
    data: dict[str, Number]


class Stats(Answer):
    """What has to be in an answer to STATS."""

    endpoints: Annotated[list[Endpoint], Meta(min_length=1)]


KINDS: Final = {"PING": Answer, "STATS": Stats}


class Finder:
    """Asks for the services under a prefix."""

    def __init__(self, nc: Client, prefix: str) -> None:
        self._nc = nc
        self._prefix = prefix

    async def ask(self, verb: str, wait: float = WAIT, most: int | None = None) -> list[Service]:
        """Return the answers of those that answer in time, or of the first so many."""
        inbox = self._nc.new_inbox()
        subscription = await self._nc.subscribe(inbox)
        await self._nc.publish(f"$SRV.{verb}.{NAME}", reply=inbox)
        found: list[Service] = []
        async with unsubscribed(subscription):
            with anyio.move_on_after(wait):
                while most is None or len(found) < most:
                    msg = await subscription.next_msg(timeout=wait + 1)
                    if not msg.data:  # nobody listens
                        break
                    service = read(msg.data, verb)
                    if service is not None and service["metadata"].get("prefix") == self._prefix:
                        found.append(service)
        return sorted(found, key=lambda service: service["id"])


def read(data: bytes, verb: str) -> Service | None:
    """Return an answer as it is, None if it is not one: anybody may give it."""
    try:
        service: Service = msgspec.json.decode(data)
        msgspec.convert(service, KINDS[verb])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return service


def find(
    urls: tuple[str, ...],
    credentials: Credentials,
    prefix: str,
    use: Callable[[Finder], Awaitable[T]],
) -> T:
    """Connect, without patience, and return what comes of using the finder.

    Raises a CannotStart, or NotServed.
    """

    def on_denied(_: DbsvcError) -> None:
        """Nobody answers who is not asked; that is said anyway."""

    async def main() -> T:
        async with connected(urls, Counts(), on_denied, credentials, patient=False) as nc:
            try:
                return await use(Finder(nc, prefix))
            except Error as error:
                raise NotServed(f"no service answers: {error}") from None

    return anyio.run(main)
