"""From a message to an operation, and on to the writer or the answers."""

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from nats.aio.msg import Msg

from rosey_dbsvc.answers import Answers
from rosey_dbsvc.codec import decode, shorten
from rosey_dbsvc.contract import OPERATIONS, Event, Operation, Query
from rosey_dbsvc.counts import Counts
from rosey_dbsvc.errors import InvalidPayload, ShuttingDown
from rosey_dbsvc.storage import Received
from rosey_dbsvc.writer import Writer

logger = logging.getLogger(__name__)


class Consumer:
    """The loop over the messages of a subscription."""

    def __init__(self, prefix: str, writer: Writer, answers: Answers, counts: Counts) -> None:
        self.consumed = 0
        """How many messages are done with, as far as this loop is concerned."""
        self._operations = {f"{prefix}.{operation.name}": operation for operation in OPERATIONS}
        self._writer = writer
        self._answers = answers
        self._counts = counts

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
                if msg.reply and issubclass(self._operations.get(msg.subject, Event), Query):
                    await self._answers.refuse(msg.reply, ShuttingDown())

    async def _take(self, msg: Msg) -> None:
        operation = self._operations.get(msg.subject)
        if operation is None or (issubclass(operation, Query) and not msg.reply):
            logger.debug("left alone: %s", msg.subject)
            return
        try:
            payload = decode(operation, msg.data)
        except InvalidPayload as error:
            await self._reject(operation, msg, error)
        else:
            await self._dispatch(payload, msg)

    async def _dispatch(self, payload: Operation, msg: Msg) -> None:
        if isinstance(payload, Event):
            if remark := payload.remark():
                logger.info("%s", shorten(remark))
            await self._writer.put(Received(payload, time.time(), len(msg.data)))
        elif isinstance(payload, Query):
            await self._answers.start(msg.reply, payload)

    async def _reject(self, operation: type[Operation], msg: Msg, error: InvalidPayload) -> None:
        logger.warning("rejected %s: %s", msg.subject, error)
        if issubclass(operation, Query):
            await self._answers.start(msg.reply, error)
        else:
            self._counts.rejected += 1
