"""Maintenance of the file: deletion of old rows, VACUUM and ANALYZE."""

import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from time import perf_counter
from typing import Final, NamedTuple

from rosey_dbsvc.storage.sqlite.base import Base

logger = logging.getLogger(__name__)

STATEMENTS: Final = ("VACUUM", "ANALYZE")
DAY: Final = 86400


class Rule(NamedTuple):
    """Rows of a table that are deleted after some days."""

    table: str
    label: str
    days: int
    condition: str

    def before(self, now: float) -> int:
        """Return the time before which rows are old, in Unix seconds."""
        return int(now) - self.days * DAY


RULES: Final = (
    Rule("user_count_history", "history records", 30, "timestamp < :before"),
    Rule("outbound_messages", "outbound messages", 7, "sent = 1 AND sent_timestamp < :before"),
    Rule("api_tokens", "revoked tokens", 90, "revoked = 1 AND created_at < :before"),
)

MIN_ROWS: Final = 20
"""Rows per step. With fewer, a step is not faster: most of its time is the flush."""
MAX_ROWS: Final = 200
"""Rows per step. With more, a step could take too long if the next rows are large."""
SHORT_STEP: Final = 0.005
LONG_STEP: Final = 0.015  # a step should take between these times, in seconds

SMALLEST_ID: Final = -(2**63)
NEXT_ROWS = "SELECT max(rowid), count(*) FROM (SELECT rowid FROM {table} WHERE rowid > ? LIMIT ?)"
# NOT INDEXED: an index on the condition would visit rows that are not of this step.
DELETE = """
DELETE FROM {table} NOT INDEXED WHERE rowid > :after AND rowid <= :last AND {condition}
"""


class Retention:
    """Deletes old rows in small steps, so that the writer waits for one step at most.

    It visits every row of the tables that have a rule, oldest first.
    """

    def __init__(
        self,
        conn: Callable[[], sqlite3.Connection],
        now: float,
        timer: Callable[[], float] = perf_counter,
    ) -> None:
        """Take a function that returns the connection, the time in Unix seconds, and a timer."""
        self.visited = 0
        self.rows = MIN_ROWS
        """Number of rows that the next step visits."""
        self._conn = conn
        self._now = now
        self._timer = timer
        self._rules = list(RULES)
        self._after = SMALLEST_ID
        self._deleted = dict.fromkeys((rule.label for rule in RULES), 0)

    @property
    def done(self) -> list[str]:
        """What was deleted, one line per table."""
        deleted = self._deleted.items()
        return [f"Cleaned {count} old {label}" for label, count in deleted if count]

    def total(self) -> int:
        """Return the number of rows to visit."""
        conn = self._conn()
        return sum(
            conn.execute(f"SELECT count(*) FROM {rule.table}").fetchone()[0]  # noqa: S608  ours
            for rule in RULES
        )

    def step(self) -> bool:
        """Visit some rows in a transaction; return whether there are more. Raises sqlite3.Error.

        A failed step can be repeated.
        """
        begun = self._timer()
        if self._visit(self._rules[0]):
            self._adapt(self._timer() - begun)
        else:
            self._rules.pop(0)
            self._after = SMALLEST_ID
        return bool(self._rules)

    def _visit(self, rule: Rule) -> int:
        conn = self._conn()
        sql = NEXT_ROWS.format(table=rule.table)
        with closing(conn.execute(sql, (self._after, self.rows))) as rows:
            last, count = rows.fetchone()
        if not count:
            return 0
        values = {"after": self._after, "last": last, "before": rule.before(self._now)}
        with conn:
            deleted = conn.execute(DELETE.format(**rule._asdict()), values).rowcount
        self._deleted[rule.label] += deleted
        self._after = last
        self.visited += count
        return int(count)

    def _adapt(self, seconds: float) -> None:
        if seconds < SHORT_STEP:
            self.rows = min(2 * self.rows, MAX_ROWS)
        elif seconds > LONG_STEP:
            self.rows = max(self.rows // 2, MIN_ROWS)


class Maintenance(Base):
    """Deletion of old rows, VACUUM and ANALYZE."""

    def retention(self, now: float) -> Retention:
        """Return the deletion, in steps, of what is old at this time, in Unix seconds."""
        return Retention(lambda: self.conn, now)

    def perform_maintenance(self) -> list[str]:
        """Delete old rows, VACUUM and ANALYZE; return what was done, one line each."""
        retention = self.retention(self.clock())
        try:
            while retention.step():
                pass
            done = retention.done
            for statement in STATEMENTS:
                self.conn.execute(statement)
                done.append(f"{statement} completed")
        except sqlite3.Error as error:
            logger.error("Database maintenance error: %s", error)  # noqa: TRY400  one line
            self.conn.rollback()
            raise
        logger.info("Database maintenance completed: %s", ", ".join(done))
        return done
