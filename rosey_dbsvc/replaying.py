"""A stream replayed into a new file, and done."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import anyio
from anyio import CancelScope, to_thread
from nats.aio.client import Client

from rosey_dbsvc.connection import connected
from rosey_dbsvc.counts import Counts
from rosey_dbsvc.database import BotDatabase
from rosey_dbsvc.errors import CannotOpen, DbsvcError, sole_error
from rosey_dbsvc.events import Events
from rosey_dbsvc.opening import load_factory, opened
from rosey_dbsvc.progress import Report
from rosey_dbsvc.settings import Durable, Settings
from rosey_dbsvc.source import following
from rosey_dbsvc.storage import Storage
from rosey_dbsvc.stream import Stream
from rosey_dbsvc.threads import in_threads
from rosey_dbsvc.writer import Writer

REPORTED_EVERY: Final = 0.1
"""In seconds."""

CURSOR: Final = "SELECT 1 FROM rosey_dbsvc_cursor WHERE stream = ?"


def replay(settings: Settings, report: Report) -> Counts:
    """Apply what the stream has to a file that is new, or that a replay has left unfinished.

    Raises a CannotStart, or NotADatabase.
    """
    return anyio.run(_replay, settings, settings.durable or Durable(), report)


async def _replay(settings: Settings, durable: Durable, report: Report) -> Counts:
    await to_thread.run_sync(_check_new, settings.db_path, durable.stream)
    factory = load_factory(settings.database) if settings.database else BotDatabase
    counts = Counts()
    denials: list[DbsvcError] = []
    with sole_error(), CancelScope() as scope:

        def on_denied(error: DbsvcError) -> None:
            denials.append(error)
            scope.cancel()

        async with connected(settings.nats_urls, counts, on_denied) as nc:
            await Stream(nc, settings.prefix, durable).state(make=False)
            async with in_threads(opened(settings.db_path, factory, durable)) as storage:
                await _catch_up(nc, settings.prefix, durable, storage, counts, report)
    if denials:
        raise denials[0]
    return counts


def _check_new(path: str, stream: str) -> None:
    file = Path(path)
    if not file.exists() or not file.stat().st_size:
        return
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as conn:
            known = conn.execute(CURSOR, (stream,)).fetchone()
    except sqlite3.Error:
        known = None
    if known is None:
        raise CannotOpen(f"{path} is there already, and not from this stream: name a new file")


async def _catch_up(
    nc: Client, prefix: str, durable: Durable, storage: Storage, counts: Counts, report: Report
) -> None:
    writer = Writer(storage.apply, counts)
    events = Events(prefix, writer, counts)
    async with anyio.create_task_group() as committing:
        committing.start_soon(writer.run, name="writer")
        async with following(nc, prefix, durable, storage, writer, events) as follower:
            await follower.begun.wait()
            while writer.reached < follower.target:
                with anyio.move_on_after(REPORTED_EVERY):
                    await writer.wait_reached(follower.target)
                report(min(writer.reached, follower.target), follower.target)
        writer.end()
