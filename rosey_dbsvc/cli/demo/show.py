"""A demo from begin to end: a service, a channel, and the picture of both."""

import socket
from contextlib import closing
from random import Random
from typing import Final

import anyio
from anyio import CancelScope, to_thread

from rosey_dbsvc.cli.demo.channel import ANNOUNCEMENTS, Channel
from rosey_dbsvc.cli.demo.picture import draw
from rosey_dbsvc.cli.signals import handle_signals
from rosey_dbsvc.client import DatabaseClient
from rosey_dbsvc.embed import serve
from rosey_dbsvc.errors import ConnectionLost, DatabaseFailed, sole_error
from rosey_dbsvc.settings import Settings
from rosey_dbsvc.storage.connect import connect
from rosey_dbsvc.storage.sqlite import BotDatabase

FAILURE_TIMEOUT: Final = 5.0
"""Time for the service to fail, in seconds, after its client lost the connection."""
OUTBOUND: Final = 300  # outbound messages queued before the start


class Demo:
    """One `rosey-dbsvc demo`."""

    def __init__(self, rate: float, seconds: float) -> None:
        self._rate = rate
        self._seconds = seconds
        self._scope = CancelScope()
        self._published = 0

    async def run(self) -> str:
        """Run until the time is over or a signal arrives; return the result.

        Raises a DbsvcError.
        """
        with sole_error():
            async with anyio.create_task_group() as tasks:
                await tasks.start(handle_signals, lambda _: self._scope.cancel(), name="signals")
                async with anyio.TemporaryDirectory(prefix="rosey-dbsvc-") as folder:
                    path = f"{folder}/bot_data.db"
                    await to_thread.run_sync(_queue_messages, path)
                    with self._scope:
                        await self._serve(path)
                    stored = await to_thread.run_sync(_count_messages, path)
                tasks.cancel_scope.cancel()
        if stored < self._published:
            missing = self._published - stored
            raise DatabaseFailed(f"{missing} of {self._published} chat messages are missing")
        return f"all {stored:,} chat messages are in the database"

    async def _serve(self, path: str) -> None:
        settings = Settings(db_path=path, local_port=_free_port())
        async with anyio.create_task_group() as tasks:
            db = await tasks.start(serve, settings, name="rosey-dbsvc")
            try:
                with sole_error():
                    await self._play(db, path)
            except ConnectionLost:
                await anyio.sleep(FAILURE_TIMEOUT)  # the service raises the reason
                raise

    async def _play(self, db: DatabaseClient, path: str) -> None:
        channel = Channel(db, self._rate, Random())  # noqa: S311  chat is no secret
        self._scope.deadline = anyio.current_time() + self._seconds
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(channel.run, name="channel")
                await draw(channel, path)
        finally:
            self._published = channel.messages


def show(rate: float, seconds: float) -> str:
    """Run a demo; return its result. Raises a DbsvcError."""
    return anyio.run(_run, rate, seconds)


async def _run(rate: float, seconds: float) -> str:
    return await Demo(rate, seconds).run()


def _queue_messages(path: str) -> None:
    with closing(BotDatabase(path)) as database, database.atomic():
        for number in range(OUTBOUND):
            database.enqueue_outbound_message(ANNOUNCEMENTS[number % len(ANNOUNCEMENTS)])


def _count_messages(path: str) -> int:
    with closing(connect(path, "ro")) as conn:
        return int(conn.execute("SELECT count(*) FROM recent_chat").fetchone()[0])


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
