"""All exceptions of the package, with their reply codes and exit codes."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Final

REPLY_CODE: Final = re.compile(r"\d{3}")


class DbsvcError(Exception):
    """The database service failed."""

    code: int = 500
    """Value of the header `Nats-Service-Error-Code`."""
    exit_code: ClassVar[int] = 1
    """Exit code of the process."""

    def __init__(self, message: str = "") -> None:
        """Take a message of one line. The default is the first line of the class's docstring."""
        super().__init__(message or (self.__doc__ or "").partition("\n")[0])


# Sent to a requester


class InvalidPayload(DbsvcError):
    """The payload does not match the operation."""

    code = 400


class ReplyTooLarge(DbsvcError):
    """The reply is larger than the server's max_payload: request less."""

    code = 413


class DatabaseFailed(DbsvcError):
    """The database failed."""


class NotSupported(DbsvcError):
    """The adopted database has no method for this operation."""

    code = 501


class ShuttingDown(DbsvcError):
    """The service is shutting down."""

    code = 503


# Raised by the client only


class Refused(DbsvcError):
    """The service refused the request."""

    def __init__(self, message: str = "", code: str = "") -> None:
        """Take the values of the reply's error headers."""
        super().__init__(message)
        self.code = int(code) if REPLY_CODE.fullmatch(code) else DbsvcError.code


class TimedOut(DbsvcError):
    """No service replied in time."""


class UnknownReply(DbsvcError):
    """The reply does not match the operation."""


class NotStored(DbsvcError):
    """No stream acknowledged the event. It may or may not be stored."""


class NotServed(DbsvcError):
    """No service is running."""


# Raised at the start


class CannotStart(DbsvcError):
    """The service cannot start."""

    exit_code = 2


class InvalidSettings(CannotStart):
    """A setting is invalid.

    The message names fields of the settings in backticks; the command line shows its flags there.
    """


class CannotOpen(CannotStart):
    """The database cannot be opened."""


class DatabaseInUse(CannotStart):
    """Another service uses this database."""


class NotAdoptable(CannotStart):
    """The object cannot be used as a database."""


class ConnectionRefused(CannotStart):
    """The NATS server refused the connection."""


class NoServer(CannotStart):
    """There is no NATS server, and none can be started."""


class NoJetStream(CannotStart):
    """The NATS server has no JetStream: start it with `nats-server -js -sd DIRECTORY`."""


class StreamDiffers(CannotStart):
    """The stream exists with other settings."""


class StreamRefused(CannotStart):
    """JetStream refused to create or change the stream."""


class Unavailable(CannotStart):
    """JetStream does not respond."""


class CannotServeMetrics(CannotStart):
    """The metrics address cannot be used."""


class AlreadyServing(CannotStart):
    """The service is already running."""


# Raised while the service runs


class NotADatabase(DbsvcError):
    """The file is not a readable SQLite database."""


class ConnectionLost(DbsvcError):
    """The connection to NATS is closed for good."""


class PermissionDenied(DbsvcError):
    """The NATS server denied a subscription or a JetStream request."""


class StreamChanged(DbsvcError):
    """The stream no longer captures the events."""


# Raised by other commands


class BackupFailed(DbsvcError):
    """The backup failed. An older backup is unchanged."""


class MaintenanceFailed(DbsvcError):
    """The maintenance failed."""


@contextmanager
def sole_error() -> Iterator[None]:
    """Raise the only exception of an exception group in place of the group.

    If it has several and all are DbsvcErrors, raise the first.
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
