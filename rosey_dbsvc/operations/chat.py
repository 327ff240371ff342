"""Operations on chat messages."""

from typing import Annotated, TypedDict

from msgspec import Meta

from rosey_dbsvc.operations.base import MAX_MESSAGE_BYTES, Event, Limit, Query, Username

Message = Annotated[str, Meta(description=f"at most {MAX_MESSAGE_BYTES:,} bytes")]


class MessageLog(Event, frozen=True, gc=False):
    """Count a chat message of the user and store it as recent chat; an empty one is ignored."""

    name = "message.log"

    username: Username
    message: Message

    def __post_init__(self) -> None:
        if len(self.message.encode()) > MAX_MESSAGE_BYTES:
            text = f"Expected `str` of at most {MAX_MESSAGE_BYTES} bytes - at `$.message`"
            raise ValueError(text)


class ChatLine(TypedDict):
    """A chat message. The timestamp is in Unix seconds."""

    timestamp: int
    username: str
    message: str


class StatsRecentChatGet(Query, frozen=True, gc=False):
    """Get the last chat messages, oldest first."""

    name = "stats.recent_chat.get"
    row = ChatLine

    limit: Limit = 50


OPERATIONS = (MessageLog, StatsRecentChatGet)
