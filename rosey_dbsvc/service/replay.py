"""Replay of a stream into a new database file."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import anyio
from anyio import CancelScope, to_thread
from nats.aio.client import Client

from rosey_dbsvc._aio import in_thread
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.errors import CannotOpen, DbsvcError, sole_error
from rosey_dbsvc.messaging.connection import connected
from rosey_dbsvc.messaging.stream import Stream
from rosey_dbsvc.pipeline.dispatcher import Dispatcher
from rosey_dbsvc.pipeline.sources import following
from rosey_dbsvc.pipeline.writer import Writer
from rosey_dbsvc.settings import Durable, Settings
from rosey_dbsvc.storage.admin import Report
from rosey_dbsvc.storage.connect import connect
from rosey_dbsvc.storage.cursor import has_other_history
from rosey_dbsvc.storage.lock import check_path
from rosey_dbsvc.storage.opening import load_factory, opened
from rosey_dbsvc.storage.protocol import Storage

REPORT_INTERVAL: Final = 0.1  # time between two reports, in seconds
NAME_ANOTHER: Final = "name a new file"


class Replay:
    """Applies a stream to a file that is new, or that an interrupted replay left unfinished."""

    def __init__(self, settings: Settings, durable: Durable, report: Report) -> None:
        self.counts = Counts()
        self._settings = settings
        self._durable = durable
        self._report = report
        self._denial: DbsvcError | None = None
        self._scope = CancelScope()

    def stop(self) -> None:
        """Interrupt it. The next replay into the file continues."""
        self._scope.cancel()

    async def run(self) -> None:
        """Apply what the stream has. Raises CannotStart or NotADatabase."""
        with sole_error(), self._scope:
            await self._replay()
        if self._denial is not None:
            raise self._denial

    def _deny(self, error: DbsvcError) -> None:
        self._denial = error
        self._scope.cancel()

    async def _replay(self) -> None:
        settings, path = self._settings, self._settings.db_path
        factory = await to_thread.run_sync(load_factory, settings.database)
        await to_thread.run_sync(_check_new, path, self._durable.stream)
        connection = connected(
            settings.nats_urls, self.counts, self._deny, settings.credentials, retry=False
        )
        async with connection as nc:
            stream = Stream(nc, settings.prefix, self._durable)
            state = await stream.state(create=False)
            async with in_thread(opened(path, factory, self._durable)) as storage:
                if storage.cursor and storage.cursor.created not in {"", state.created}:
                    raise CannotOpen(f"{path} is from another stream {stream.name}: {NAME_ANOTHER}")
                await self._catch_up(nc, stream, storage)

    async def _catch_up(self, nc: Client, stream: Stream, storage: Storage) -> None:
        writer = Writer(storage.apply, self.counts)
        dispatcher = Dispatcher(self._settings.prefix, writer, self.counts)
        following_stream = following(nc, stream, storage, writer, dispatcher, self.counts)
        async with anyio.create_task_group() as committing:
            committing.start_soon(writer.run, name="writer")
            async with following_stream as follower:
                await follower.begun.wait()
                while writer.reached < follower.target:
                    with anyio.move_on_after(REPORT_INTERVAL):
                        await writer.wait_reached(follower.target)
                    self._report(min(writer.reached, follower.target), follower.target)
            writer.end()


def _check_new(path: str, stream: str) -> None:
    check_path(path)
    file = Path(path)
    if not file.exists() or not file.stat().st_size:
        return
    try:
        with closing(connect(path, "ro")) as conn:
            others = has_other_history(conn, stream)
    except sqlite3.Error:
        others = True
    if others:
        raise CannotOpen(f"{path} exists and is not from the stream {stream}: {NAME_ANOTHER}")
