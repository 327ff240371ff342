"""The upkeep of a file, asked for by hand."""

import sqlite3
import time
from contextlib import ExitStack, closing
from typing import Final

from rosey_dbsvc.cli.progress import Report
from rosey_dbsvc.errors import DatabaseInUse, MaintenanceFailed
from rosey_dbsvc.storage.admin.interruptible import execute
from rosey_dbsvc.storage.lock import one_writer
from rosey_dbsvc.storage.opening import open_existing
from rosey_dbsvc.storage.sqlite.maintenance import UPKEEP, Maintenance

BUSY_TIMEOUT: Final = 30.0
"""How long each step waits for a service that writes, in seconds."""


def maintain(path: str, report: Report, *, vacuum: bool | None) -> list[str]:
    """Delete what is old and tidy up the file; return what was done, a line each.

    VACUUM and ANALYZE keep others from writing for as long as they take: with None they are left
    out while a service runs. Raises CannotOpen, NotADatabase or MaintenanceFailed.
    """
    with ExitStack() as stack:
        conn = stack.enter_context(closing(open_existing(path, BUSY_TIMEOUT)))
        alone = _is_alone(stack, path)
        try:
            done = _delete_old(conn, report, alone=alone)
            if vacuum or (vacuum is None and alone):
                return done + _tidy(conn)
        except sqlite3.Error as error:
            raise MaintenanceFailed(f"the maintenance of {path} failed: {error}") from error
    if vacuum is None:
        done.append(
            f"VACUUM and ANALYZE left out, since a service writes {path}: "
            "stop it first, or insist with --vacuum"
        )
    return done


def _is_alone(stack: ExitStack, path: str) -> bool:
    """Keep services from starting, and return whether none runs."""
    try:
        stack.enter_context(one_writer(path))
    except DatabaseInUse:
        return False
    return True


def _delete_old(conn: sqlite3.Connection, report: Report, *, alone: bool) -> list[str]:
    retention = Maintenance(conn).retention(time.time())
    total, more = retention.total(), True
    while more:
        begun = time.perf_counter()
        more = retention.step()
        report(min(retention.looked, total), total)
        if not alone:
            time.sleep(time.perf_counter() - begun)  # the service's turn
    return retention.done or ["nothing was old"]


def _tidy(conn: sqlite3.Connection) -> list[str]:
    done = []
    for upkeep in UPKEEP:
        execute(conn, upkeep)
        done.append(f"{upkeep} completed")
    return done
