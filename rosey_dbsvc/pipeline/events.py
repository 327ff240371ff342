"""Events, from a message to the writer."""

import logging

from nats.aio.msg import Msg

from rosey_dbsvc.counters import Counts
from rosey_dbsvc.errors import InvalidPayload
from rosey_dbsvc.operations.base import EVENTS
from rosey_dbsvc.operations.codec import decode, shorten
from rosey_dbsvc.pipeline.writer import Writer
from rosey_dbsvc.storage.cursor import Position
from rosey_dbsvc.storage.storage import Received

logger = logging.getLogger(__name__)


class Events:
    """Decodes events, and gives the valid ones to the writer in the order they come."""

    def __init__(self, prefix: str, writer: Writer, counts: Counts) -> None:
        self._operations = {f"{prefix}.{operation.name}": operation for operation in EVENTS}
        self._writer = writer
        self._counts = counts

    def miss(self, count: int) -> None:
        """Count events that can no longer be had."""
        self._counts.expired += count

    async def take(self, msg: Msg, at: float, position: Position | None = None) -> bool:
        """Take an event that came at a time, or what is at a position in a stream.

        Return whether it was an event at all.
        """
        operation = self._operations.get(msg.subject)
        if operation is None:
            return False
        tally = self._counts.operations[operation.name]
        tally.requests += 1
        try:
            event = decode(operation, msg.data)
        except InvalidPayload as error:
            logger.warning("rejected %s: %s", msg.subject, error)
            self._counts.rejected += 1
            tally.fail(str(error))
            if position is not None:
                self._writer.skip(position)
        else:
            if remark := event.remark():
                logger.info("%s", shorten(remark))
            await self._writer.put(Received(event, at, len(msg.data), position))
        return True
