"""Everything that this package raises, each class with its codes."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Final

CODE: Final = re.compile(r"\d{3}")


class DbsvcError(Exception):
    """The database service failed."""

    code: int = 500
    """What a requester reads in the header `Nats-Service-Error-Code`."""
    exit_code: ClassVar[int] = 1
    """What the process exits with."""

    def __init__(self, message: str = "") -> None:
        """Take a message of one line; the class's docstring stands in for none."""
        super().__init__(message or (self.__doc__ or "").partition("\n")[0])


# What a requester is told.


class InvalidPayload(DbsvcError):
    """The payload is not what the operation takes."""

    code = 400


class ReplyTooLarge(DbsvcError):
    """The reply is larger than the server's max_payload: ask for less."""

    code = 413


class DatabaseFailed(DbsvcError):
    """The database failed."""


class ShuttingDown(DbsvcError):
    """The service is shutting down."""

    code = 503


# What who asks learns besides.


class Refused(DbsvcError):
    """The service refuses the query."""

    def __init__(self, message: str = "", code: str = "") -> None:
        """Take what the headers of the reply say."""
        super().__init__(message)
        self.code = int(code) if CODE.fullmatch(code) else DbsvcError.code


class TimedOut(DbsvcError):
    """No service has answered in time."""


class UnknownReply(DbsvcError):
    """The reply is none that is known."""


class NotStored(DbsvcError):
    """No stream has acknowledged the event; it may have it or not."""


# What keeps a service from starting.


class CannotStart(DbsvcError):
    """The service cannot start."""

    exit_code = 2


class InvalidSettings(CannotStart):
    """A setting has no usable value."""


class CannotOpen(CannotStart):
    """The database cannot be opened."""


class DatabaseInUse(CannotStart):
    """Another service writes this database."""


class NotAdoptable(CannotStart):
    """The object lacks a method of a BotDatabase."""


class ConnectionRefused(CannotStart):
    """The NATS server does not let this service in."""


class NoServer(CannotStart):
    """There is no NATS server, and none can be started."""


class NoJetStream(CannotStart):
    """The NATS server has no JetStream: start it with `nats-server -js -sd FOLDER`."""


class StreamDiffers(CannotStart):
    """The stream is there with other settings."""


class StreamRefused(CannotStart):
    """The stream cannot be made or changed."""


class Unavailable(CannotStart):
    """JetStream does not answer now."""


class CannotServeMetrics(CannotStart):
    """The address for metrics cannot be listened on."""


class AlreadyServing(CannotStart):
    """The service runs already."""


# What ends a service that runs.


class NotADatabase(DbsvcError):
    """The file is not a database, or not one that can be read."""


class ConnectionLost(DbsvcError):
    """The connection to NATS is closed for good."""


class PermissionDenied(DbsvcError):
    """The NATS server does not let this service subscribe, or ask JetStream."""


class NotServed(DbsvcError):
    """No service answers."""


class StreamChanged(DbsvcError):
    """The stream is no longer one for these events."""


# What ends other commands.


class BackupFailed(DbsvcError):
    """The backup failed; an older one is as it was."""


class MaintenanceFailed(DbsvcError):
    """The maintenance failed."""


@contextmanager
def sole_error() -> Iterator[None]:
    """Raise the one error of a group as itself: who sees it need not know how tasks are nested.

    Of several, if all are ours, the first stands for them.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        errors = list(_leaves(group))
        if len(errors) > 1 and not all(isinstance(error, DbsvcError) for error in errors):
            raise
        raise errors[0] from errors[0].__cause__


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
