"""Maintenance of a database file by hand."""

import sqlite3
import time
from contextlib import ExitStack, closing
from typing import Final

from rosey_dbsvc.errors import DatabaseInUse, MaintenanceFailed
from rosey_dbsvc.storage.admin import Report
from rosey_dbsvc.storage.admin.interruptible import execute
from rosey_dbsvc.storage.connect import open_existing
from rosey_dbsvc.storage.lock import writer_lock
from rosey_dbsvc.storage.sqlite.retention import STATEMENTS, Retention

BUSY_TIMEOUT: Final = 30.0  # time that each step waits for a lock of the service, in seconds


def maintain(
    path: str, report: Report, *, vacuum: bool | None, busy_timeout: float = BUSY_TIMEOUT
) -> list[str]:
    """Delete old rows, VACUUM and ANALYZE; return what was done, one line each.

    VACUUM and ANALYZE lock the file: with `vacuum=None` they are skipped while a service runs.
    Raises CannotOpen, NotADatabase or MaintenanceFailed.
    """
    with ExitStack() as stack:
        conn = stack.enter_context(closing(open_existing(path, busy_timeout)))
        alone = _lock_out_services(stack, path)
        try:
            done = _delete_old(conn, report, alone=alone)
            if vacuum or (vacuum is None and alone):
                return done + _vacuum(conn)
        except sqlite3.Error as error:
            raise MaintenanceFailed(f"the maintenance of {path} failed: {error}") from error
    if vacuum is None:
        done.append(
            f"VACUUM and ANALYZE skipped, because a service uses {path}: "
            "stop it first, or add --vacuum"
        )
    return done


def _lock_out_services(stack: ExitStack, path: str) -> bool:
    """Keep services from starting; return whether none runs."""
    try:
        stack.enter_context(writer_lock(path))
    except DatabaseInUse:
        return False
    return True


def _delete_old(conn: sqlite3.Connection, report: Report, *, alone: bool) -> list[str]:
    retention = Retention(lambda: conn, time.time())
    total, more = retention.total(), True
    while more:
        begun = time.perf_counter()
        more = retention.step()
        report(min(retention.visited, total), total)
        if not alone:
            time.sleep(time.perf_counter() - begun)  # half of the time is the service's
    return retention.done or ["nothing to delete"]


def _vacuum(conn: sqlite3.Connection) -> list[str]:
    done = []
    for statement in STATEMENTS:
        execute(conn, statement)
        done.append(f"{statement} completed")
    return done
