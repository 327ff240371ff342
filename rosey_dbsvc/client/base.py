"""Base of the client's parts: typed publishes and requests over a transport."""

from abc import ABC, abstractmethod
from typing import Any, TypeVar

from rosey_dbsvc.messaging.transport import Transport
from rosey_dbsvc.operations import codec
from rosey_dbsvc.operations.base import Event, Query

T = TypeVar("T")


class Base(ABC):
    """Encodes operations, and decodes replies."""

    _prefix: str

    @abstractmethod
    def _connection(self) -> Transport:
        """Return the transport. Raises ConnectionLost if there is none."""

    async def _publish(self, operation: type[Event], **fields: Any) -> None:  # noqa: ANN401
        payload = codec.encode_payload(operation, fields)
        await self._connection().publish(f"{self._prefix}.{operation.name}", payload)

    async def _request(self, operation: type[Query], rows: type[T], **fields: Any) -> T:  # noqa: ANN401
        payload = codec.encode_payload(operation, fields)
        reply = await self._connection().request(f"{self._prefix}.{operation.name}", payload)
        return codec.decode_reply(rows, reply)
