"""Everything that goes over NATS: operations by family, their payloads and replies. No I/O.

A new operation is a class in the module of its family, listed in that module's `OPERATIONS`.
"""

from typing import Final

from rosey_dbsvc.operations import channel, chat, outbound, users
from rosey_dbsvc.operations.base import Event, Operation, Query

FAMILIES: Final = (users, chat, channel, outbound)

OPERATIONS: Final[tuple[type[Operation], ...]] = tuple(
    operation for family in FAMILIES for operation in family.OPERATIONS
)
EVENTS: Final = tuple(each for each in OPERATIONS if issubclass(each, Event))
QUERIES: Final = tuple(each for each in OPERATIONS if issubclass(each, Query))
