"""Finds running services and requests their statistics (ADR-32)."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio
from nats.aio.client import Client
from nats.errors import Error

from rosey_dbsvc.counters import Counts
from rosey_dbsvc.credentials import Credentials
from rosey_dbsvc.errors import DbsvcError, NotServed
from rosey_dbsvc.messaging.connection import connected, unsubscribed
from rosey_dbsvc.monitoring import adr32
from rosey_dbsvc.monitoring.adr32 import Reply

REPLY_TIMEOUT: Final = 0.5  # time to wait for the replies of all services, in seconds

T = TypeVar("T")


class Finder:
    """Requests from all services with a prefix."""

    def __init__(self, nc: Client, prefix: str) -> None:
        self._nc = nc
        self._prefix = prefix

    async def request(
        self, verb: str, seconds: float = REPLY_TIMEOUT, limit: int | None = None
    ) -> list[Reply]:
        """Return the replies that arrive in time, or the first ones up to a limit."""
        inbox = self._nc.new_inbox()
        subscription = await self._nc.subscribe(inbox)
        await self._nc.publish(adr32.subject(verb), reply=inbox)
        found: list[Reply] = []
        async with unsubscribed(subscription):
            with anyio.move_on_after(seconds):
                while limit is None or len(found) < limit:
                    msg = await subscription.next_msg(timeout=seconds + 1)
                    if not msg.data:  # nobody listens
                        break
                    reply = adr32.decode(verb, msg.data)
                    if reply is not None and reply["metadata"].get("prefix") == self._prefix:
                        found.append(reply)
        return sorted(found, key=lambda reply: reply["id"])


def find(
    urls: tuple[str, ...],
    credentials: Credentials,
    prefix: str,
    use: Callable[[Finder], Awaitable[T]],
) -> T:
    """Connect without retries, and return the result of `use`. Raises CannotStart or NotServed."""

    def on_denied(_: DbsvcError) -> None:
        """Ignore it: a request that is denied gets no reply."""

    async def main() -> T:
        async with connected(urls, Counts(), on_denied, credentials, retry=False) as nc:
            try:
                return await use(Finder(nc, prefix))
            except Error as error:
                raise NotServed(f"no service replies: {error}") from None

    return anyio.run(main)
