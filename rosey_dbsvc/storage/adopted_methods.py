"""Names of the methods of an adopted BotDatabase, and how they are called."""

from collections.abc import Callable, Mapping
from functools import partial
from inspect import Parameter, signature
from typing import Any, Final, NamedTuple

from msgspec import UNSET

from rosey_dbsvc.errors import NotAdoptable
from rosey_dbsvc.operations import channel, chat, outbound, users
from rosey_dbsvc.operations.base import Operation

Call = Callable[[Any], Any]  # takes an operation, and calls the database's method for it


class Method(NamedTuple):
    """A method: its name in Rosey v0.5.0, then the one in the specification."""

    names: tuple[str, ...]
    call: Callable[[Callable[..., Any], Any], Any]
    """Called with the method and the operation."""
    optional: bool = False
    """Whether events are ignored if the database lacks it."""


def _message(method: Callable[..., Any], event: chat.MessageLog) -> None:
    if event.message:
        method(event.username, event.message)


def _status(method: Callable[..., Any], event: channel.StatusUpdate) -> None:
    if event.status_data:
        method(**event.status_data)


def _due_messages(method: Callable[..., Any], query: outbound.MessagesOutboundGet) -> Any:  # noqa: ANN401
    """Pass the parameters that the method has.

    Rosey's has no username, because the table has no recipients. The specification's requires one:
    a query without it gets no rows.
    """
    given: dict[str, Any] = {"limit": query.limit, "max_retries": query.max_retries}
    if query.username is not UNSET:
        given["username"] = query.username
    known = signature(method).parameters
    required = "username" in known and known["username"].default is Parameter.empty
    if query.username == "" or (required and "username" not in given):
        return []
    if not any(each.kind is Parameter.VAR_KEYWORD for each in known.values()):
        given = {name: value for name, value in given.items() if name in known}
    return method(**given)


METHODS: Final[dict[type[Operation], Method]] = {
    users.UserJoined: Method(("user_joined",), lambda method, event: method(event.username)),
    users.UserLeft: Method(("user_left",), lambda method, event: method(event.username)),
    chat.MessageLog: Method(("user_chat_message", "message_logged"), _message),
    channel.StatsUserCount: Method(
        ("log_user_count", "update_user_count"),
        lambda method, event: method(event.chat_count, event.connected_count),
    ),
    channel.StatsHighWater: Method(
        ("update_high_water_mark",),
        lambda method, event: method(event.chat_count, event.connected_count),
    ),
    channel.StatusUpdate: Method(("update_current_status",), _status, optional=True),
    outbound.MessagesOutboundMarkSent: Method(
        ("mark_outbound_sent", "mark_outbound_message_sent"),
        lambda method, event: method(event.message_id),
    ),
    outbound.MessagesOutboundGet: Method(("get_unsent_outbound_messages",), _due_messages),
    chat.StatsRecentChatGet: Method(
        ("get_recent_chat",), lambda method, query: method(limit=query.limit)
    ),
}

REQUIRED: Final = (
    users.UserJoined,
    users.UserLeft,
    chat.MessageLog,
    chat.StatsRecentChatGet,
    channel.StatsUserCount,
    channel.StatsHighWater,
    outbound.MessagesOutboundMarkSent,
    outbound.MessagesOutboundGet,
)
"""Operations of the specification. Any other that the database lacks is answered 501."""


def calls(
    database: object, methods: Mapping[type[Operation], Method] = METHODS
) -> dict[type[Operation], Call]:
    """Return the calls that the database has methods for.

    Raises NotAdoptable if it lacks a required one.
    """
    found = {operation: _bind(database, method) for operation, method in methods.items()}
    for operation in REQUIRED:
        if found.get(operation) is None:
            names = " or ".join(methods[operation].names)
            raise NotAdoptable(
                f"{type(database).__name__} cannot be adopted for {operation.name}: "
                f"it needs a method {names}"
            )
    return {operation: call for operation, call in found.items() if call is not None}


def _bind(database: object, method: Method) -> Call | None:
    for name in method.names:
        if callable(found := getattr(database, name, None)):
            return partial(method.call, found)
    return _ignore if method.optional else None


def _ignore(_: Operation) -> None:
    """Accept an event that the specification only logs."""
