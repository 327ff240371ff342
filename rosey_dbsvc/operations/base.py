"""Every operation of the service, once: its name, its payload, and what it asks of a database.

The names, bounds and defaults are those of the specification ("2.2 NATS Subject Design") and of the
bot that it was written for. A class is decoded from the payload, so a field is a rule: the consumer
dispatches on these classes, the command line prints them, and the tests run over them. Hundreds of
thousands may wait for the database: they refer to nothing that could refer back to them, and are of
no interest to the garbage collector, which took a quarter of the time to look at them.
"""

from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from typing import Annotated, Any, ClassVar, Final, Self, TypedDict

from msgspec import UNSET, Meta, Struct, UnsetType

LARGEST: Final = 2**63 - 1  # SQLite's largest integer
MESSAGE_BYTES: Final = 64 * 1024

Username = Annotated[str, Meta(min_length=1, max_length=255)]
Recipient = Annotated[str, Meta(max_length=255, description="if it is empty, there are none")]
Count = Annotated[int, Meta(ge=0, le=LARGEST)]
Id = Annotated[int, Meta(ge=1, le=LARGEST)]
Limit = Annotated[int, Meta(ge=1, le=1000)]
Retries = Annotated[int, Meta(ge=0, le=1000)]
Text = Annotated[str, Meta(max_length=MESSAGE_BYTES)]
Line = Annotated[str, Meta(description=f"at most {MESSAGE_BYTES:,} bytes")]
Number = Annotated[int, Meta(ge=-LARGEST, le=LARGEST)] | float | None
Flag = bool | Count | None

Method = Callable[..., Any]


class Operation(Struct, frozen=True, gc=False):
    """One thing that the service does, decoded from the payload of a message."""

    name: ClassVar[str]
    """Follows the prefix in the subject."""
    methods: ClassVar[tuple[str, ...]]
    """What a database calls it: the name in Rosey v0.5.0, then the one in the specification."""
    optional: ClassVar[bool] = False
    """Whether a database may do without."""

    @classmethod
    def bind(cls, method: Method) -> Method:
        """Return what `apply` or `answer` is to be given for this method of a database."""
        return method


class Event(Operation, frozen=True, gc=False):
    """An operation that is published and changes the database; nobody waits for a reply."""

    bulk: ClassVar[str] = ""
    """A method that does many at once, each at its own time, for a database that has it."""

    def apply(self, method: Method) -> None:
        """Call the database's method with what the payload says."""
        raise NotImplementedError

    @classmethod
    def apply_many(cls, method: Method, events: Sequence[tuple[float, Self]]) -> None:
        """Call the method named `bulk` with what the payloads say, each received at a time."""
        raise NotImplementedError

    def remark(self) -> str:
        """Return what the log is to say of the event at INFO, as a rule nothing."""
        return ""


class Query(Operation, frozen=True, gc=False):
    """An operation that is requested and answered with rows."""

    lazy: ClassVar[str] = ""
    """A method that reads row by row as they are taken, for a database that has it."""
    row: ClassVar[type]
    """What the reply has an array of; a database with other names may have other rows."""

    def answer(self, method: Method) -> Any:  # noqa: ANN401  a database returns what it likes
        """Return the rows that the database's method gives for the payload."""
        raise NotImplementedError


class UserJoined(Event, frozen=True, gc=False):
    """Start a session for the user."""

    name = "user.joined"
    methods = ("user_joined",)

    username: Username

    def apply(self, method: Method) -> None:
        method(self.username)


class UserLeft(Event, frozen=True, gc=False):
    """End the user's session and add its length to the total."""

    name = "user.left"
    methods = ("user_left",)

    username: Username

    def apply(self, method: Method) -> None:
        method(self.username)


class MessageLog(Event, frozen=True, gc=False):
    """Count a line of the user's and remember it as recent chat; an empty one is ignored."""

    name = "message.log"
    methods = ("user_chat_message", "message_logged")
    bulk = "user_chat_messages"

    username: Username
    message: Line

    def __post_init__(self) -> None:
        if len(self.message.encode()) > MESSAGE_BYTES:
            text = f"Expected `str` of at most {MESSAGE_BYTES} bytes - at `$.message`"
            raise ValueError(text)

    def apply(self, method: Method) -> None:
        if self.message:
            method(self.username, self.message)

    @classmethod
    def apply_many(cls, method: Method, events: Sequence[tuple[float, Self]]) -> None:
        method([(at, event.username, event.message) for at, event in events if event.message])


class StatsUserCount(Event, frozen=True, gc=False):
    """Append to the history of user counts."""

    name = "stats.user_count"
    methods = ("log_user_count", "update_user_count")

    chat_count: Count = 0
    connected_count: Count = 0

    def apply(self, method: Method) -> None:
        method(self.chat_count, self.connected_count)


class StatsHighWater(Event, frozen=True, gc=False):
    """Raise the high water marks that are exceeded."""

    name = "stats.high_water"
    methods = ("update_high_water_mark",)

    chat_count: Count = 0
    connected_count: Count = 0

    def apply(self, method: Method) -> None:
        method(self.chat_count, self.connected_count)


class StatusData(TypedDict, total=False):
    """The columns of `current_status` that a bot may set."""

    bot_name: Text | None
    bot_rank: Number
    bot_afk: Flag
    channel_name: Text | None
    current_chat_users: Count | None
    current_connected_users: Count | None
    playlist_items: Count | None
    current_media_title: Text | None
    current_media_duration: Number
    bot_start_time: Number
    bot_connected: Flag


class StatusUpdate(Event, frozen=True, gc=False):
    """Update the bot's current status from `status_data`; log a plain `status`."""

    name = "status.update"
    methods = ("update_current_status",)
    optional = True

    status_data: StatusData | UnsetType = UNSET
    status: Text = "unknown"
    details: Text = ""

    def apply(self, method: Method) -> None:
        if self.status_data:
            method(**self.status_data)

    def remark(self) -> str:
        if self.status_data is UNSET:
            return f"Bot status: {self.status} - {self.details}"
        return ""


class MessagesOutboundMarkSent(Event, frozen=True, gc=False):
    """Mark an outbound message as sent."""

    name = "messages.outbound.mark_sent"
    methods = ("mark_outbound_sent", "mark_outbound_message_sent")

    message_id: Id

    def apply(self, method: Method) -> None:
        method(self.message_id)


class OutboundMessage(TypedDict):
    """Something that the bot is to say. The time is in Unix seconds."""

    id: int
    timestamp: int
    message: str
    retry_count: int
    last_error: str | None


class MessagesOutboundGet(Query, frozen=True, gc=False):
    """Ask for the unsent outbound messages that are due, oldest first.

    Due is what has not failed, and what has failed n times, from 2 ** n minutes after it was queued
    if n is less than `max_retries`. The table has no recipients: a username chooses none.
    """

    name = "messages.outbound.get"
    methods = ("get_unsent_outbound_messages",)
    lazy = "unsent_outbound_messages"
    row = OutboundMessage

    username: Recipient | UnsetType = UNSET
    limit: Limit = 10
    max_retries: Retries = 3

    @classmethod
    def bind(cls, method: Method) -> Method:
        """Give the method those of the three parameters that it takes.

        Rosey's own takes no username, since the table has no recipient; the specification's needs
        one, so that a request without one has nothing to find.
        """
        takes = signature(method).parameters
        takes_all = any(each.kind is Parameter.VAR_KEYWORD for each in takes.values())
        needs = "username" in takes and takes["username"].default is Parameter.empty

        def due(**given: object) -> Any:  # noqa: ANN401
            if needs and "username" not in given:
                return []
            return method(**{name: given[name] for name in given if takes_all or name in takes})

        return due

    def answer(self, method: Method) -> Any:  # noqa: ANN401
        if self.username == "":
            return []
        asked = {} if self.username is UNSET else {"username": self.username}
        return method(**asked, limit=self.limit, max_retries=self.max_retries)


class ChatLine(TypedDict):
    """Something that was said. The time is in Unix seconds."""

    timestamp: int
    username: str
    message: str


class StatsRecentChatGet(Query, frozen=True, gc=False):
    """Ask for the last lines of chat, oldest first."""

    name = "stats.recent_chat.get"
    methods = ("get_recent_chat",)
    lazy = "recent_chat"
    row = ChatLine

    limit: Limit = 50

    def answer(self, method: Method) -> Any:  # noqa: ANN401
        return method(limit=self.limit)


EVENTS: Final = tuple(Event.__subclasses__())
QUERIES: Final = tuple(Query.__subclasses__())
OPERATIONS: Final[tuple[type[Operation], ...]] = (*EVENTS, *QUERIES)
