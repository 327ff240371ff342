"""Services, asked for what they say of themselves."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import anyio
from nats.aio.client import Client
from nats.errors import Error

from rosey_dbsvc.connection import NAME, connected, unsubscribed
from rosey_dbsvc.counts import Counts
from rosey_dbsvc.credentials import Credentials
from rosey_dbsvc.errors import DbsvcError, NotServed

WAIT: Final = 0.5
"""How long services have to answer when all of them are asked for, in seconds."""

Service = dict[str, Any]
T = TypeVar("T")


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
                    if (service := self._read(msg.data)) is not None:
                        found.append(service)
        return sorted(found, key=lambda service: str(service["id"]))

    def _read(self, data: bytes) -> Service | None:
        try:
            service = json.loads(data)
            ours = service["metadata"]["prefix"] == self._prefix and service["id"]
        except (ValueError, LookupError, TypeError):
            return None
        return service if ours else None


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
