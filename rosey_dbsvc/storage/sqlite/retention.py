"""What is old is deleted a step at a time, so that a writer waits for no more than a step."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from time import perf_counter
from typing import Final, NamedTuple

DAY: Final = 86400


class Rule(NamedTuple):
    """What is old in a table, and what to call it."""

    table: str
    what: str
    days: int
    condition: str

    def before(self, now: float) -> int:
        """Return from when on, in Unix seconds, something is too young."""
        return int(now) - self.days * DAY


RULES: Final = (
    Rule("user_count_history", "history records", 30, "timestamp < :before"),
    Rule("outbound_messages", "outbound messages", 7, "sent = 1 AND sent_timestamp < :before"),
    Rule("api_tokens", "revoked tokens", 90, "revoked = 1 AND created_at < :before"),
)

FEWEST_ROWS: Final = 20
"""Fewer would not be faster: what is left is the flush to disk, and the wait for Python's lock."""
MOST_ROWS: Final = 200
"""More would be faster, and too long if the next ones are large."""
SHORT: Final = 0.005
LONG: Final = 0.015
"""Between these, in seconds, is how long a step is to take; then even twice as long is not much."""

SMALLEST_ID: Final = -(2**63)
LOOK = "SELECT max(rowid), count(*) FROM (SELECT rowid FROM {table} WHERE rowid > ? LIMIT ?)"
# NOT INDEXED: an index that the condition would fit leads past rows that are not of the step.
DELETE = """
DELETE FROM {table} NOT INDEXED WHERE rowid > :after AND rowid <= :last AND {condition}
"""


class Retention:
    """Looks at every row of the tables that something is to be deleted from, oldest first."""

    def __init__(
        self,
        conn: Callable[[], sqlite3.Connection],
        now: float,
        timer: Callable[[], float] = perf_counter,
    ) -> None:
        """Take what gives the connection for a step, the time in Unix seconds, and a stopwatch."""
        self.looked = 0
        """How many rows are done with."""
        self.rows = FEWEST_ROWS
        """How many rows the next step looks at."""
        self._conn = conn
        self._now = now
        self._timer = timer
        self._rules = list(RULES)
        self._after = SMALLEST_ID
        self._deleted = dict.fromkeys((rule.what for rule in RULES), 0)

    @property
    def done(self) -> list[str]:
        """What was deleted, a line each."""
        return cleaned(self._deleted)

    def total(self) -> int:
        """Return how many rows there are to look at."""
        conn = self._conn()
        return sum(
            conn.execute(f"SELECT count(*) FROM {rule.table}").fetchone()[0]  # noqa: S608  ours
            for rule in RULES
        )

    def step(self) -> bool:
        """Look at some rows, in a transaction; return whether there are more. Raises sqlite3.Error.

        One that has failed can be tried again.
        """
        begun = self._timer()
        if self._look(self._rules[0]):
            self._adapt(self._timer() - begun)
        else:
            self._rules.pop(0)
            self._after = SMALLEST_ID
        return bool(self._rules)

    def _look(self, rule: Rule) -> int:
        conn = self._conn()
        with closing(conn.execute(LOOK.format(table=rule.table), (self._after, self.rows))) as rows:
            last, count = rows.fetchone()
        if not count:
            return 0
        values = {"after": self._after, "last": last, "before": rule.before(self._now)}
        with conn:
            deleted = conn.execute(DELETE.format(**rule._asdict()), values).rowcount
        self._deleted[rule.what] += deleted
        self._after = last
        self.looked += count
        return int(count)

    def _adapt(self, passed: float) -> None:
        if passed < SHORT:
            self.rows = min(2 * self.rows, MOST_ROWS)
        elif passed > LONG:
            self.rows = max(self.rows // 2, FEWEST_ROWS)


def cleaned(deleted: dict[str, int]) -> list[str]:
    """Return in words what was deleted."""
    return [f"Cleaned {count} old {what}" for what, count in deleted.items() if count]
