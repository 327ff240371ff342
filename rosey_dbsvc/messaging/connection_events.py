"""Events of a connection: logged, counted, and reported if they are fatal."""

import ssl
from collections.abc import Callable
from typing import Final

from nats.errors import SlowConsumerError

from rosey_dbsvc._aio import LogThrottle
from rosey_dbsvc._text import Logger, shorten
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.errors import ConnectionLost, ConnectionRefused, DbsvcError, PermissionDenied
from rosey_dbsvc.messaging.nats_private import NoTls

logger = Logger(__name__)

REFUSALS: Final = ("authorization violation", "authentication expired", "authentication revoked")
PERMISSIONS: Final = "permissions violation"
SUBSCRIPTION_DENIED: Final = f"{PERMISSIONS} for subscription"
DISCOVERY: Final = '"$srv.'
JETSTREAM_DENIED: Final = f'{PERMISSIONS} for publish to "$js.'
TLS_ERRORS: Final = (NoTls, ssl.SSLError)

OnDenied = Callable[[DbsvcError], None]
"""Called if the server later refuses the connection or a subscription."""


class Unreachable(DbsvcError):
    """None of the servers responded."""


class ConnectionEvents:
    """The callbacks of one connection.

    nats-py awaits them inside its read loop: they return at once and, once connected, never raise.
    """

    def __init__(self, servers: int, counts: Counts, on_denied: OnDenied) -> None:
        self._servers = servers
        self._counts = counts
        self._on_denied = on_denied
        self._is_connected = False
        self._is_closing = False
        self._failures = 0
        self._refusals = 0
        self._throttle = LogThrottle()

    def connected(self) -> None:
        """Handle the first connection. From here on nats-py reconnects by itself."""
        self._is_connected = self._counts.connected = True

    def closing(self) -> None:
        """Handle the beginning of a close on purpose."""
        self._is_closing = True

    async def error(self, error: Exception) -> None:
        """Handle an error. During the first connection, raise what ends the attempt."""
        if not self._is_connected:
            self._end_attempt(error)
        elif isinstance(error, SlowConsumerError):
            self._count_dropped()
        elif is_refusal(error):
            self._count_refusal(error)
        elif isinstance(error, TLS_ERRORS):
            self._throttle.warning("TLS failed: %(reason)s", reason=error_text(error))
        elif PERMISSIONS in str(error).lower():
            self._handle_denied(error, str(error).lower())
        else:
            logger.debug("connection error: %(reason)s", reason=error_text(error))

    def _handle_denied(self, error: Exception, text: str) -> None:
        reason = error_text(error)
        if SUBSCRIPTION_DENIED in text and DISCOVERY in text:
            logger.warning("service discovery is off: %(reason)s", reason=reason)
        elif SUBSCRIPTION_DENIED in text:
            self._on_denied(PermissionDenied(f"the server denies the subscription: {reason}"))
        elif JETSTREAM_DENIED in text:  # no reply would come
            self._on_denied(PermissionDenied(f"the server denies a JetStream request: {reason}"))
        else:
            self._throttle.warning("the server denies a publish: %(reason)s", reason=reason)

    def _count_refusal(self, error: Exception) -> None:
        self._refusals += 1
        if self._refusals > self._servers:
            reason = error_text(error)
            self._on_denied(
                ConnectionLost(f"the server no longer accepts our credentials: {reason}")
            )

    def _end_attempt(self, error: Exception) -> None:
        if is_refusal(error):
            raise ConnectionRefused(
                f"the server refuses the connection: {error_text(error)}: check `user` and "
                "`password`, `token`, `creds` or `nkey`"
            )
        if isinstance(error, TLS_ERRORS):
            raise ConnectionRefused(f"TLS failed: {error_text(error)}")
        self._failures += 1
        if self._failures >= self._servers:
            raise Unreachable(error_text(error))

    def _count_dropped(self) -> None:
        self._counts.dropped += 1
        self._throttle.warning(
            "messages arrive faster than they are read: %(count)d dropped so far",
            count=self._counts.dropped,
        )

    async def disconnected(self) -> None:
        """Handle a lost connection."""
        self._counts.connected = False
        if self._is_connected and not self._is_closing:
            logger.warning("disconnected from NATS")

    async def reconnected(self) -> None:
        """Handle a restored connection."""
        self._refusals = 0
        self._counts.connected = True
        logger.info("reconnected to NATS")


def is_refusal(error: Exception) -> bool:
    """Return whether the server refuses our credentials."""
    return any(refusal in str(error).lower() for refusal in REFUSALS)


def error_text(error: Exception) -> str:
    """Return the message of an error on one line, without nats-py's prefix."""
    if isinstance(error, TimeoutError):
        return "what listens there does not respond like a NATS server"
    if isinstance(error, ConnectionResetError):  # before the server's reason was read
        return "the connection was reset, maybe because the server requires credentials"
    return shorten(str(error).removeprefix("nats: ").strip("'") or type(error).__name__)
