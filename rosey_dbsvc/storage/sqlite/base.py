"""Base of the database's parts: a connection, transactions, and a clock."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import chain
from typing import Any, Final

MAX_ROWS: Final = 256  # rows per INSERT statement

Values = Sequence[Any] | Mapping[str, Any]
Handlers = dict[type, Callable[[Any, Any], Any]]
"""By operation: a function of the database and the operation."""


class Base:
    """A connection, and the clock that timestamps are read from."""

    conn: sqlite3.Connection

    def __init__(self, conn: sqlite3.Connection) -> None:
        self.conn = conn
        self.clock: Callable[[], float] = time.time
        self.in_use = False
        """Whether a storage has this object."""
        self._depth = 0

    def use_clock(self, clock: Callable[[], float]) -> None:
        """Take "now" from this function, in Unix seconds."""
        self.clock = clock

    def _now(self) -> int:
        return int(self.clock())

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Run in a transaction: begin and commit it, or join the one of an outer `atomic`.

        What a caller left open on the connection is committed with it, as in Rosey v0.5.0.
        """
        if not self._depth and not self.conn.in_transaction:
            self.conn.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
            if self._depth == 1:
                self.conn.commit()
        except BaseException:
            if self._depth == 1:
                with suppress(sqlite3.Error):  # it must not hide the error
                    self.conn.rollback()
            raise
        finally:
            self._depth -= 1

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what fails inside, and nothing else of the transaction."""
        self.conn.execute("SAVEPOINT event")
        try:
            yield
        except BaseException:
            if self.conn.in_transaction:
                self.conn.execute("ROLLBACK TO event")
            raise
        finally:
            if self.conn.in_transaction:
                self.conn.execute("RELEASE event")

    def _execute_rows(self, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Execute SQL in which `{rows}` stands for the VALUES of many rows.

        One statement for many rows, because sqlite3 releases the GIL in each step of a statement,
        and waits milliseconds to get it back beside a busy event loop.
        """
        for begin in range(0, len(rows), MAX_ROWS):
            chunk = rows[begin : begin + MAX_ROWS]
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
