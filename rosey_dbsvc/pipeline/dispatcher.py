"""From messages to operations: events go to the writer, queries to the query runner."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from nats.aio.msg import Msg

from rosey_dbsvc._text import Logger, shorten
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.errors import InvalidPayload, ShuttingDown
from rosey_dbsvc.messaging.nats_private import UNDECODABLE, UNDECODABLE_PARTS
from rosey_dbsvc.operations import OPERATIONS
from rosey_dbsvc.operations.base import Event, Query
from rosey_dbsvc.operations.codec import O, decode
from rosey_dbsvc.operations.router import Router
from rosey_dbsvc.pipeline.queries import QueryRunner
from rosey_dbsvc.pipeline.writer import Writer
from rosey_dbsvc.storage.cursor import Position
from rosey_dbsvc.storage.protocol import Received

logger = Logger(__name__)


class Dispatcher:
    """Decodes messages in the order they come, and passes them on."""

    def __init__(self, prefix: str, writer: Writer, counts: Counts) -> None:
        self.dispatched = 0
        """Number of messages passed on by `run`."""
        self._router = Router(prefix, OPERATIONS)
        self._writer = writer
        self._counts = counts

    async def run(self, messages: AsyncGenerator[Msg], queries: QueryRunner) -> None:
        """Dispatch messages until there are no more."""
        async with aclosing(messages):
            async for msg in messages:
                await self._dispatch(msg, queries)
                self.dispatched += 1

    async def refuse(self, messages: AsyncGenerator[Msg], queries: QueryRunner) -> None:
        """Answer queries with an error, because of a stop. Events are dropped."""
        async with aclosing(messages):
            async for msg in messages:
                route = self._router.find(msg.subject)
                if msg.reply and route is not None and issubclass(route.operation, Query):
                    await queries.refuse(msg.reply, ShuttingDown())

    async def put_event(self, msg: Msg, at: float, position: Position) -> None:
        """Pass on what is at a position of a stream, stored at a time in Unix seconds."""
        route = self._router.find(msg.subject)
        if route is not None and issubclass(route.operation, Event):
            await self._put(route.operation, msg, at, position)
        else:
            self._writer.skip(position)

    async def _dispatch(self, msg: Msg, queries: QueryRunner) -> None:
        route = self._router.find(msg.subject)
        if route is not None and issubclass(route.operation, Event):
            await self._put(route.operation, msg, time.time())
        elif route is not None and issubclass(route.operation, Query) and msg.reply:
            await self._start(route.operation, msg, queries)
        else:
            logger.debug("ignored a message: %(subject)s", subject=shorten(msg.subject))

    async def _put(
        self, operation: type[Event], msg: Msg, at: float, position: Position | None = None
    ) -> None:
        counts = self._counts.operations[operation.name]
        counts.requests += 1
        try:
            event = _decode(operation, msg)
        except InvalidPayload as error:
            _log_rejected(msg, error)
            self._counts.rejected += 1
            counts.fail(str(error))
            if position is not None:
                self._writer.skip(position)
        else:
            if line := event.log_line():
                logger.info("%s", shorten(line))
            await self._writer.put(Received(event, at, len(msg.data), position))

    async def _start(self, operation: type[Query], msg: Msg, queries: QueryRunner) -> None:
        query: Query | InvalidPayload
        try:
            query = _decode(operation, msg)
        except InvalidPayload as error:
            _log_rejected(msg, error)
            query = error
        await queries.start(msg.reply, operation.name, query)


def _decode(operation: type[O], msg: Msg) -> O:
    if msg.headers and (part := msg.headers.get(UNDECODABLE)) in UNDECODABLE_PARTS:
        raise InvalidPayload(f"the {part} of the message cannot be decoded")
    return decode(operation, msg.data)


def _log_rejected(msg: Msg, error: InvalidPayload) -> None:
    logger.warning("rejected %(subject)s: %(reason)s", subject=msg.subject, reason=str(error))
