"""The service as NATS's own tools find it: `$SRV.PING`, `.INFO` and `.STATS` (ADR-32)."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any, Final
from uuid import uuid4

import anyio
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from rosey_dbsvc.counters import Counts
from rosey_dbsvc.messaging.connection import GONE, NAME, describe, is_for_answers, unsubscribed
from rosey_dbsvc.operations.base import OPERATIONS, Event, Operation

logger = logging.getLogger(__name__)

VERSION: Final = version(NAME)
DESCRIPTION: Final = "The database of a chat bot: events in, rows out"
TYPE: Final = "io.nats.micro.v1.{}_response"
VERBS: Final = ("PING", "INFO", "STATS")

Fields = dict[str, Any]


class Card:
    """What one running service says of itself. The numbers are its own, since it was started."""

    def __init__(self, prefix: str, queue: str, metadata: dict[str, str], counts: Counts) -> None:
        self.id = uuid4().hex
        self.prefix = prefix
        self._queue = queue
        self._identity = {
            "name": NAME,
            "id": self.id,
            "version": VERSION,
            "metadata": {"prefix": prefix, **metadata},
        }
        self._started = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        self._counts = counts

    def answer(self, verb: str) -> bytes:
        """Return the answer to PING, INFO or STATS."""
        fields: Fields = {"type": TYPE.format(verb.lower()), **self._identity}
        if verb == "INFO":
            fields |= {"description": DESCRIPTION, "endpoints": self._endpoints()}
        elif verb == "STATS":
            fields |= {"started": self._started, "endpoints": self._statistics()}
        return json.dumps(fields).encode()

    def _endpoints(self) -> list[Fields]:
        return [{**self._endpoint(each), "metadata": {"kind": _kind(each)}} for each in OPERATIONS]

    def _endpoint(self, operation: type[Operation]) -> Fields:
        return {
            "name": operation.name.replace(".", "_"),  # the protocol allows no dots
            "subject": f"{self.prefix}.{operation.name}",
            "queue_group": self._queue,
        }

    def _statistics(self) -> list[Fields]:
        counts = self._counts
        data = {
            "applied": counts.applied,
            "rejected": counts.rejected,
            "pending": counts.pending,
            "dropped": counts.dropped,
            "stale": counts.stale,
            "batches": counts.batches,
            "last_commit": counts.last_commit,
        }
        return [{**self._endpoint(each), **self._tally(each), "data": data} for each in OPERATIONS]

    def _tally(self, operation: type[Operation]) -> Fields:
        tally = self._counts.operations[operation.name]
        passed = tally.processing_time
        if issubclass(operation, Event):  # its share of the commits
            settled = max(1, self._counts.applied + self._counts.rejected)
            passed = self._counts.commit_time * tally.requests // settled
        return {
            "num_requests": tally.requests,
            "num_errors": tally.errors,
            "last_error": tally.last_error,
            "processing_time": passed,
            "average_processing_time": passed // max(1, tally.requests),
        }


@cache
def _kind(operation: type[Operation]) -> str:
    return "event" if issubclass(operation, Event) else "query"


@asynccontextmanager
async def discoverable(nc: Client, card: Card) -> AsyncIterator[None]:
    """Answer those who look for services, while in the context."""

    async def answer(subscription: Subscription) -> None:
        async for msg in subscription.messages:
            verb = msg.subject.split(".")[1]
            if verb in VERBS and msg.reply and is_for_answers(msg.reply, card.prefix):
                await _reply(nc, msg, card.answer(verb))

    async with AsyncExitStack() as stack, anyio.create_task_group() as loops:
        for form in ("*", f"*.{NAME}", f"*.{NAME}.{card.id}"):
            subscription = await _subscribe(nc, f"$SRV.{form}", stack)
            if subscription is not None:
                loops.start_soon(answer, subscription, name=f"discovery {form}")
        yield
        loops.cancel_scope.cancel()


async def _subscribe(nc: Client, subject: str, stack: AsyncExitStack) -> Subscription | None:
    try:
        subscription = await nc.subscribe(subject)
    except GONE as error:
        logger.debug("not discoverable as %s: %s", subject, describe(error))
        return None
    await stack.enter_async_context(unsubscribed(subscription))
    return subscription


async def _reply(nc: Client, msg: Msg, body: bytes) -> None:
    try:
        await nc.publish(msg.reply, body)
    except GONE as error:
        logger.debug("an answer to %s was lost: %s", msg.subject, describe(error))
