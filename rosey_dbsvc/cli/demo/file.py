"""The database as any other program on its machine sees it, while the service writes it."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from anyio import to_thread

from rosey_dbsvc.errors import DatabaseFailed

SHOWN: Final = 100
"""How many people are read at most: a channel may have thousands."""

PRESENT = """
SELECT username FROM user_stats WHERE current_session_start IS NOT NULL
ORDER BY current_session_start, username LIMIT ?
"""
HISTORY = "SELECT chat_users FROM user_count_history ORDER BY id DESC LIMIT ?"
LINES = "SELECT count(*) FROM recent_chat WHERE username LIKE 'demo-%'"
QUEUE = "INSERT INTO outbound_messages (timestamp, message) VALUES (?, ?)"
UNQUEUE = "DELETE FROM outbound_messages WHERE id = ? AND sent = 0"


class File:
    """Reads it, and queues what the bot is to say. Raises DatabaseFailed."""

    def __init__(self, path: str) -> None:
        self.path = path

    async def check(self) -> None:
        """See that it can be read, and written."""
        await self.present()
        await to_thread.run_sync(self._write, UNQUEUE, [(0,)])

    async def present(self) -> list[str]:
        """Return who is here."""
        return [name for (name,) in await self._rows(PRESENT, SHOWN)]

    async def history(self, most: int) -> list[int]:
        """Return the last counts of who is here, oldest first."""
        return [count for (count,) in reversed(await self._rows(HISTORY, most))]

    async def lines(self) -> int:
        """Return how many lines of the demo's it remembers."""
        ((count,),) = await self._rows(LINES)
        return int(count)

    async def queue(self, text: str) -> int:
        """Queue something that the bot is to say; return its id."""
        return await to_thread.run_sync(self._write, QUEUE, [(int(time.time()), text)])

    async def unqueue(self, ids: Sequence[int]) -> None:
        """Take back what is not said."""
        await to_thread.run_sync(self._write, UNQUEUE, [(each,) for each in ids])

    async def _rows(self, sql: str, *values: object) -> list[Any]:
        return await to_thread.run_sync(self._read, sql, values)

    def _read(self, sql: str, values: tuple[object, ...]) -> list[Any]:
        with self._connected() as conn:
            return conn.execute(sql, values).fetchall()

    def _write(self, sql: str, rows: Sequence[tuple[object, ...]]) -> int:
        with self._connected() as conn, conn:
            return [conn.execute(sql, row).lastrowid or 0 for row in rows][-1]

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            if not Path(self.path).exists():
                raise DatabaseFailed(f"there is no database {self.path}")
            uri = f"{Path(self.path).absolute().as_uri()}?mode=rw"
            conn = sqlite3.connect(uri, uri=True)
            try:
                yield conn
            finally:
                conn.close()
        except (sqlite3.Error, OSError) as error:
            raise DatabaseFailed(f"{self.path}: {error}") from error
