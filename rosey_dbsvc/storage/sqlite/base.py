"""What the parts of a BotDatabase stand on: a connection, and what time it is."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from typing import Any, Final

ROWS_AT_ONCE: Final = 256

Values = Sequence[Any] | Mapping[str, Any]


class Base:
    """A connection to the tables, and the clock that their timestamps are read from.

    Each public method of a part is a transaction of its own: `with self.conn` commits it, or rolls
    it back. Who puts another object with the verbs of a connection in place of `conn` decides when
    that is.
    """

    conn: sqlite3.Connection

    def __init__(self, conn: sqlite3.Connection) -> None:
        self.conn = conn
        self._clock: Callable[[], float] = time.time

    def use_clock(self, clock: Callable[[], float]) -> None:
        """Take "now" from this function, in Unix seconds, instead of from the system."""
        self._clock = clock

    def _now(self) -> int:
        return int(self._clock())

    def _execute_rows(self, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Execute SQL in which `{rows}` stands for the VALUES of many rows.

        One statement for many, because sqlite3 gives up the interpreter's lock for each step of a
        statement, and beside a busy event loop gets it back milliseconds later.
        """
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            chunk = rows[begin : begin + ROWS_AT_ONCE]
            row = f"({','.join('?' * len(chunk[0]))})"
            values = ",".join([row] * len(chunk))
            self.conn.execute(sql.format(rows=values), list(chain.from_iterable(chunk)))

    def _rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        return list(self._each(sql, values))

    def _each(self, sql: str, values: Values) -> Iterator[dict[str, Any]]:
        with closing(self.conn.execute(sql, values)) as rows:
            for row in rows:
                yield dict(row)

    def _row(self, sql: str, *values: object) -> dict[str, Any] | None:
        row = self.conn.execute(sql, values).fetchone()
        return None if row is None else dict(row)
