"""A stream replayed into a new file, and done."""

import signal
import sqlite3
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Final

import anyio
from anyio import CancelScope, to_thread
from nats.aio.client import Client

from rosey_dbsvc._threads import in_threads
from rosey_dbsvc.cli.progress import Report
from rosey_dbsvc.cli.signals import obey_signals
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.errors import CannotOpen, DbsvcError, sole_error
from rosey_dbsvc.messaging.connection import connected
from rosey_dbsvc.messaging.stream import Stream
from rosey_dbsvc.pipeline.events import Events
from rosey_dbsvc.pipeline.sources import following
from rosey_dbsvc.pipeline.writer import Writer
from rosey_dbsvc.settings import Durable, Settings
from rosey_dbsvc.storage.cursor import is_of_others
from rosey_dbsvc.storage.lock import check_file
from rosey_dbsvc.storage.opening import load_factory, opened
from rosey_dbsvc.storage.storage import Storage

REPORTED_EVERY: Final = 0.1
"""In seconds."""

NAME_A_NEW: Final = "name a new file"


class Replay:
    """One `rosey-dbsvc replay`."""

    def __init__(self, settings: Settings, durable: Durable, report: Report) -> None:
        self.counts = Counts()
        self.ended_by: signal.Signals | None = None
        """The signal that broke it off."""
        self._settings = settings
        self._durable = durable
        self._report = report
        self._denial: DbsvcError | None = None
        self._scope = CancelScope()

    async def run(self) -> None:
        """Apply what the stream has until a signal comes. Raises a CannotStart or NotADatabase."""
        with sole_error():
            async with anyio.create_task_group() as tasks:
                await tasks.start(obey_signals, self._break_off, name="signals")
                with self._scope:
                    await self._replay()
                tasks.cancel_scope.cancel()
        if self._denial is not None:
            raise self._denial

    def _break_off(self, number: signal.Signals) -> None:
        self.ended_by = number
        self._scope.cancel()

    def _deny(self, error: DbsvcError) -> None:
        self._denial = error
        self._scope.cancel()

    async def _replay(self) -> None:
        path = self._settings.db_path
        await to_thread.run_sync(_check_new, path, self._durable.stream)
        factory = load_factory(self._settings.database)
        async with self._connected() as nc:
            stream = Stream(nc, self._settings.prefix, self._durable)
            state = await stream.state(make=False)
            async with in_threads(opened(path, factory, self._durable)) as storage:
                if storage.cursor and storage.cursor.created not in {"", state.created}:
                    raise CannotOpen(f"{path} is from another stream {stream.name}: {NAME_A_NEW}")
                await self._catch_up(nc, stream, storage)

    def _connected(self) -> AbstractAsyncContextManager[Client]:
        settings = self._settings
        door = (settings.nats_urls, self.counts, self._deny, settings.credentials)
        return connected(*door, patient=False)

    async def _catch_up(self, nc: Client, stream: Stream, storage: Storage) -> None:
        writer = Writer(storage.apply, self.counts)
        events = Events(self._settings.prefix, writer, self.counts)
        async with anyio.create_task_group() as committing:
            committing.start_soon(writer.run, name="writer")
            async with following(nc, stream, storage, writer, events) as follower:
                await follower.begun.wait()
                while writer.reached < follower.target:
                    with anyio.move_on_after(REPORTED_EVERY):
                        await writer.wait_reached(follower.target)
                    self._report(min(writer.reached, follower.target), follower.target)
            writer.end()


def replay(settings: Settings, durable: Durable, report: Report) -> Replay:
    """Apply what the stream has to a file that is new, or that a replay has left unfinished."""

    async def run() -> Replay:
        it = Replay(settings, durable, report)
        await it.run()
        return it

    return anyio.run(run)


def _check_new(path: str, stream: str) -> None:
    check_file(path)
    file = Path(path)
    if not file.exists() or not file.stat().st_size:
        return
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as conn:
        try:
            others = is_of_others(conn, stream)
        except sqlite3.Error:
            others = True
    if others:
        raise CannotOpen(f"{path} is there already, and from no stream {stream}: {NAME_A_NEW}")
