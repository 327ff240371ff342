"""Operations on outbound messages: what the bot has to say in the channel."""

from typing import Annotated, TypedDict

from msgspec import UNSET, Meta, UnsetType

from rosey_dbsvc.operations.base import Event, Id, Limit, Query

Recipient = Annotated[str, Meta(max_length=255, description="if empty, the reply is empty")]
Retries = Annotated[int, Meta(ge=0, le=1000)]


class MessagesOutboundMarkSent(Event, frozen=True, gc=False):
    """Mark an outbound message as sent."""

    name = "messages.outbound.mark_sent"

    message_id: Id


class OutboundMessage(TypedDict):
    """An outbound message. The timestamp is in Unix seconds."""

    id: int
    timestamp: int
    message: str
    retry_count: int
    last_error: str | None


class MessagesOutboundGet(Query, frozen=True, gc=False):
    """Get the unsent outbound messages that are due, oldest first.

    A message that failed n times is due 2 ** n minutes after it was queued, if n is less than
    `max_retries`. The table has no recipients: a username selects nothing.
    """

    name = "messages.outbound.get"
    row = OutboundMessage

    username: Recipient | UnsetType = UNSET
    limit: Limit = 10
    max_retries: Retries = 3


OPERATIONS = (MessagesOutboundMarkSent, MessagesOutboundGet)
