"""Service discovery (ADR-32): replies to `$SRV.PING`, `.INFO` and `.STATS`."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import anyio
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from rosey_dbsvc.counters import Counts
from rosey_dbsvc.messaging.connection import NAME, may_reply_to, unsubscribed
from rosey_dbsvc.messaging.connection_events import error_text
from rosey_dbsvc.messaging.nats_private import CONNECTION_ERRORS
from rosey_dbsvc.monitoring import adr32
from rosey_dbsvc.monitoring.adr32 import Reply
from rosey_dbsvc.operations import OPERATIONS
from rosey_dbsvc.operations.base import Event, Operation

logger = logging.getLogger(__name__)

DESCRIPTION: Final = "Database of a chat bot: events in, rows out"
COUNTS: Final = ("applied", "rejected", "pending", "dropped", "stale", "batches", "last_commit")
"""Counters in the `data` of STATS."""


class ServiceInfo:
    """Identity and statistics of one running service."""

    def __init__(self, prefix: str, queue: str, metadata: dict[str, str], counts: Counts) -> None:
        self.id = uuid4().hex
        self.prefix = prefix
        self._queue = queue
        self._identity = {
            "name": NAME,
            "id": self.id,
            "version": adr32.VERSION,
            "metadata": {"prefix": prefix, **metadata},
        }
        self._started = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        self._counts = counts

    def reply(self, verb: str) -> bytes:
        """Return the reply to PING, INFO or STATS."""
        fields: Reply = {**self._identity}
        if verb == "INFO":
            fields |= {"description": DESCRIPTION, "endpoints": self._endpoints()}
        elif verb == "STATS":
            fields |= {"started": self._started, "endpoints": self._statistics()}
        return adr32.encode(verb, fields)

    def _endpoints(self) -> list[Reply]:
        return [{**self._endpoint(each), "metadata": {"kind": each.kind}} for each in OPERATIONS]

    def _endpoint(self, operation: type[Operation]) -> Reply:
        return {
            "name": operation.name.replace(".", "_"),  # the protocol allows no dots
            "subject": f"{self.prefix}.{operation.name}",
            "queue_group": self._queue,
        }

    def _statistics(self) -> list[Reply]:
        data = {name: getattr(self._counts, name) for name in COUNTS}
        return [
            {**self._endpoint(each), **self._requests(each), "data": data} for each in OPERATIONS
        ]

    def _requests(self, operation: type[Operation]) -> Reply:
        counts = self._counts.operations[operation.name]
        passed = counts.processing_time
        if issubclass(operation, Event):  # its share of the commits
            settled = max(1, self._counts.applied + self._counts.rejected)
            passed = self._counts.commit_time * counts.requests // settled
        return {
            "num_requests": counts.requests,
            "num_errors": counts.errors,
            "last_error": counts.last_error,
            "processing_time": passed,
            "average_processing_time": passed // max(1, counts.requests),
        }


@asynccontextmanager
async def discoverable(nc: Client, info: ServiceInfo) -> AsyncIterator[None]:
    """Reply to discovery requests while in the context."""

    async def reply_to(subscription: Subscription) -> None:
        async for msg in subscription.messages:
            verb = msg.subject.split(".")[1]
            if verb in adr32.REPLIES and msg.reply and may_reply_to(msg.reply, info.prefix):
                await _send(nc, msg, info.reply(verb))

    subjects = ("$SRV.*", adr32.subject("*"), adr32.subject("*", info.id))
    async with AsyncExitStack() as stack, anyio.create_task_group() as loops:
        for subject in subjects:
            subscription = await _subscribe(nc, subject, stack)
            if subscription is not None:
                loops.start_soon(reply_to, subscription, name=f"discovery {subject}")
        yield
        loops.cancel_scope.cancel()


async def _subscribe(nc: Client, subject: str, stack: AsyncExitStack) -> Subscription | None:
    try:
        subscription = await nc.subscribe(subject)
    except CONNECTION_ERRORS as error:
        logger.debug("no subscription to %s: %s", subject, error_text(error))
        return None
    await stack.enter_async_context(unsubscribed(subscription))
    return subscription


async def _send(nc: Client, msg: Msg, body: bytes) -> None:
    try:
        await nc.publish(msg.reply, body)
    except CONNECTION_ERRORS as error:
        logger.debug("a reply to %s was lost: %s", msg.subject, error_text(error))
