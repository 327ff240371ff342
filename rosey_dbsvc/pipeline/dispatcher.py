"""From a message to an operation, and on to the events or the answers."""

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from nats.aio.msg import Msg

from rosey_dbsvc.errors import InvalidPayload, ShuttingDown
from rosey_dbsvc.operations.base import QUERIES
from rosey_dbsvc.operations.codec import decode
from rosey_dbsvc.pipeline.events import Events
from rosey_dbsvc.pipeline.queries import Answers

logger = logging.getLogger(__name__)


class Consumer:
    """The loop over the messages of a subscription."""

    def __init__(self, prefix: str, events: Events, answers: Answers) -> None:
        self.consumed = 0
        """How many messages are done with, as far as this loop is concerned."""
        self._queries = {f"{prefix}.{operation.name}": operation for operation in QUERIES}
        self._events = events
        self._answers = answers

    async def run(self, messages: AsyncGenerator[Msg]) -> None:
        """Take messages until there are no more."""
        async with aclosing(messages):
            async for msg in messages:
                await self._take(msg)
                self.consumed += 1

    async def refuse(self, messages: AsyncGenerator[Msg]) -> None:
        """Tell those who ask that it is too late; events are let go."""
        async with aclosing(messages):
            async for msg in messages:
                if msg.reply and msg.subject in self._queries:
                    await self._answers.refuse(msg.reply, ShuttingDown())

    async def _take(self, msg: Msg) -> None:
        if await self._events.take(msg, time.time()):
            return
        if msg.reply and msg.subject in self._queries:
            await self._start(msg)
        else:
            logger.debug("left alone: %s", msg.subject)

    async def _start(self, msg: Msg) -> None:
        operation = self._queries[msg.subject]
        try:
            query = decode(operation, msg.data)
        except InvalidPayload as error:
            logger.warning("rejected %s: %s", msg.subject, error)
            await self._answers.start(msg.reply, operation.name, error)
        else:
            await self._answers.start(msg.reply, operation.name, query)
