"""Looks into database files, and third-party databases."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from anyio import to_thread

from rosey_dbsvc import BotDatabase


def select(path: Path | str, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Return rows as another program sees them in the file."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as conn:
        return conn.execute(sql, values).fetchall()


async def rows(path: Path | str, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Return the same, from a test with an event loop that is not to be blocked."""
    return await to_thread.run_sync(lambda: select(path, sql, *values))


@contextmanager
def locked(path: Path | str) -> Iterator[sqlite3.Connection]:
    """Hold the file's write lock, as another program might."""
    conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    with closing(conn):
        conn.execute("BEGIN IMMEDIATE")
        yield conn
        if conn.in_transaction:
            conn.execute("ROLLBACK")


HOLD = """
import sqlite3, sys
conn = sqlite3.connect(sys.argv[1], isolation_level=None)
conn.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def lock_elsewhere(path: Path) -> subprocess.Popen[str]:
    """Let another process hold the file's write lock until its standard input is closed."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], **pipes)  # type: ignore[call-overload]
    assert process.stdout.readline() == "locked\n"
    return process  # type: ignore[no-any-return]


class OldBotDatabase:
    """A third-party BotDatabase: the names of v0.5.0, and a commit in every method."""

    def __init__(self, path: str, **options: Any) -> None:
        self.conn = sqlite3.connect(path, **{"check_same_thread": False, **options})
        self.conn.row_factory = sqlite3.Row
        self.conn.execute("CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, what TEXT)")
        self.conn.commit()

    def _log(self, *what: object) -> None:
        cursor = self.conn.cursor()
        cursor.execute("INSERT INTO log (what) VALUES (?)", (" ".join(map(str, what)),))
        self.conn.commit()

    def user_joined(self, username: str) -> None:
        self._log("joined", username)

    def user_left(self, username: str) -> None:
        self._log("left", username)

    def user_chat_message(self, username: str, message: str | None = None) -> None:
        self._log("said", username, message)

    def log_user_count(self, chat_users: int, connected_users: int) -> None:
        self._log("count", chat_users, connected_users)

    def update_high_water_mark(self, chat: int, connected: int | None = None) -> None:
        self._log("mark", chat, connected)

    def update_current_status(self, **status: Any) -> None:
        self._log("status", status)

    def mark_outbound_sent(self, outbound_id: int) -> None:
        self._log("sent", outbound_id)

    def get_unsent_outbound_messages(self, limit: int = 50, max_retries: int = 3) -> list[Any]:
        return list(
            self.conn.execute("SELECT id, what FROM log LIMIT ?", (min(limit, max_retries),))
        )

    def get_recent_chat(self, limit: int = 20) -> list[Any]:
        return list(self.conn.execute("SELECT what FROM log ORDER BY id LIMIT ?", (limit,)))

    def logged(self) -> list[str]:
        return [what for (what,) in self.conn.execute("SELECT what FROM log ORDER BY id")]

    def close(self) -> None:
        self.conn.close()


class SpecDatabase:
    """A BotDatabase with the names of the specification, and no visible SQLite connection."""

    def __init__(self, _path: str = "") -> None:
        self.calls: list[tuple[Any, ...]] = []

    def user_joined(self, username: str) -> None:
        self.calls.append(("joined", username))

    def user_left(self, username: str) -> None:
        self.calls.append(("left", username))

    def message_logged(self, username: str, message: str) -> None:
        self.calls.append(("said", username, message))

    def update_user_count(self, chat_count: int, connected_count: int) -> None:
        self.calls.append(("count", chat_count, connected_count))

    def update_high_water_mark(self, chat_count: int, connected_count: int) -> None:
        self.calls.append(("mark", chat_count, connected_count))

    def mark_outbound_message_sent(self, message_id: int) -> None:
        self.calls.append(("sent", message_id))

    def get_unsent_outbound_messages(self, username: str, limit: int = 10) -> list[Any]:
        return [{"to": username, "limit": limit}]

    def get_recent_chat(self, limit: int = 50) -> list[Any]:
        return [{"limit": limit}]


class Traced(BotDatabase):
    """Notes the thread of every statement."""

    threads: ClassVar[set[int]] = set()

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.conn.set_trace_callback(self._note)

    def _note(self, _: str) -> None:
        self.threads.add(threading.get_ident())
