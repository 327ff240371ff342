"""Everything that needs private names of nats-py, which a new version may change.

tests/unit/test_nats_private.py fails if one of them is gone.
"""

import asyncio
from contextlib import suppress
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from anyio import lowlevel
from nats.aio.client import Client, RawCredentials
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.errors import Error

from rosey_dbsvc.credentials import Credentials
from rosey_dbsvc.errors import InvalidSettings

PRIVATE_METHODS: Final = (
    (Client, "_build_message"),
    (Client, "_connect_command"),
    (Client, "_process_headers"),
    (Client, "_process_op_err"),
    (Client, "_read_loop"),
    (Client, "_remove_sub"),
    (Client, "_send_ping"),
    (Client, "_send_unsubscribe"),
    (Subscription, "_stop_processing"),
)
PRIVATE_ATTRIBUTES: Final = (
    (Client, ("_current_server", "_transport", "_user_credentials")),
    (Subscription, ("_id", "_pending_queue", "_pending_size")),
    (TcpTransport, ("_io_writer",)),
)

UNDECODABLE: Final = "Rosey-Undecodable"
"""Header of a message with a subject, a reply subject or headers that cannot be decoded."""
UNDECODABLE_PARTS: Final = ("headers", "subject or reply subject")
"""Values of that header. Others are a publisher's."""
CONNECTION_ERRORS: Final = (OSError, Error, RuntimeError)
"""Raised by nats-py when the server is gone; RuntimeError on uvloop."""
POLL_INTERVAL: Final = 0.05  # time between two looks at the connection during a flush, in seconds


class NoTls(Error):
    """The server does not offer TLS."""

    def __str__(self) -> str:
        return "the server does not offer TLS"


class CheckedClient(Client):
    """A client that checks encryption and credentials at each connection, also at reconnects.

    nats-py sends credentials in plain text to a server that does not ask for TLS, and a damaged
    credentials file ends its reconnecting for ever.
    """

    def __init__(self, credentials: Credentials, first_url: str, *, need_tls: bool) -> None:
        super().__init__()
        self._credentials = credentials
        self._first_login = _login_of(first_url)
        self._need_tls = need_tls

    async def _read_loop(self) -> None:
        await super()._read_loop()
        task = asyncio.current_task()
        is_ending = self.is_draining or (task is not None and task.cancelling())
        if self.is_connected and not is_ending:  # nats-py only logs it, and never reads again
            error = Error("the read loop ended")
            await self._error_cb(error)
            await self._process_op_err(error)

    def _connect_command(self) -> bytes:
        if self._need_tls and not self._is_encrypted():
            if self._transport is not None:  # what is buffered must not be sent either
                self._transport.close()  # type: ignore[no-untyped-call]
            raise NoTls
        if not self._credentials.are_given:
            self._use_login_of_url()
        self._reload_files()
        return super()._connect_command()

    def _is_encrypted(self) -> bool:
        writer = getattr(self._transport, "_io_writer", None)
        return writer is not None and writer.get_extra_info("ssl_object") is not None

    def _use_login_of_url(self) -> None:
        # URLs of servers that a cluster announces have no login.
        server = self._current_server
        login = _login_of(server.uri.geturl()) if server is not None else {}
        self.options.update(dict.fromkeys(("user", "password", "token")))
        self.options.update(login or self._first_login)

    def _reload_files(self) -> None:
        try:
            secret = self._credentials.secret()
        except InvalidSettings as error:
            raise Error(str(error)) from None
        if isinstance(self._user_credentials, RawCredentials):
            self._user_credentials.data = secret


def _login_of(url: str) -> dict[str, str]:
    """Return the login in a URL as options of nats-py."""
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if password:
        return {"user": user, "password": password}
    return {"token": user} if user else {}


def accept_undecodable(nc: Client) -> None:
    """Let messages that nats-py cannot decode arrive, with the header UNDECODABLE.

    Without this they end the read loop of the connection.
    """
    if "_build_message" in vars(nc):
        return
    process_headers, build_message = nc._process_headers, nc._build_message  # noqa: SLF001

    async def decode_headers(headers: bytes) -> dict[str, str] | None:
        try:
            return await process_headers(headers)
        except Exception:  # noqa: BLE001  an untrusted client decides which
            return {UNDECODABLE: UNDECODABLE_PARTS[0]}

    def build(sid: int, subject: bytes, reply: bytes, data: bytes, headers: Any) -> Any:  # noqa: ANN401
        try:
            return build_message(sid, subject, reply, data, headers)
        except UnicodeDecodeError:
            marked = {**(headers or {}), UNDECODABLE: UNDECODABLE_PARTS[1]}
            return build_message(sid, _readable(subject), _readable(reply), data, marked)

    vars(nc).update(_process_headers=decode_headers, _build_message=build)


def _readable(subject: bytes) -> bytes:
    return subject.decode(errors="replace").encode()


def take_queued(subscription: Subscription) -> Msg:
    """Return a queued message, without the task that nats-py's iterator makes for each."""
    queue: asyncio.Queue[Msg] = subscription._pending_queue  # noqa: SLF001
    msg = queue.get_nowait()
    queue.task_done()
    subscription._pending_size -= len(msg.data)  # noqa: SLF001
    return msg


async def end_subscription(nc: Client, subscription: Subscription, *, is_known: bool) -> None:
    """Receive nothing new; let the iterator end after what was delivered.

    It replaces `Subscription.drain`, which waits for a server that is gone, and, if cancelled,
    leaves the connection deaf.
    """
    try:
        if is_known and nc.is_connected:
            await nc._send_unsubscribe(subscription._id)  # noqa: SLF001
            await flush(nc)
    finally:
        subscription._stop_processing()  # noqa: SLF001
        nc._remove_sub(subscription._id)  # noqa: SLF001


async def flush(nc: Client) -> None:
    """Wait until the server has processed all that was sent, or until the connection is lost.

    It may be cancelled, unlike nats-py's, where the late PONG then ends the read loop.
    """
    await lowlevel.checkpoint()  # or the PING overtakes what is buffered
    answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    with suppress(*CONNECTION_ERRORS):
        await nc._send_ping(answered)  # noqa: SLF001
    while nc.is_connected and not answered.done():
        await asyncio.wait([answered], timeout=POLL_INTERVAL)
