"""Chat messages."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

from rosey_dbsvc.operations.chat import MessageLog, StatsRecentChatGet
from rosey_dbsvc.storage.sqlite.base import Base, Handlers

RETENTION: Final = 150 * 3600  # time that a message is kept in `recent_chat`, in seconds

Line = tuple[float, str, str | None]  # time in Unix seconds, username and message

COUNT_MESSAGES = """
UPDATE user_stats SET total_chat_lines = total_chat_lines + said.column2, last_seen = said.column3
FROM (VALUES {rows}) AS said WHERE username = said.column1
"""
INSERT = "INSERT INTO recent_chat (timestamp, username, message) VALUES {rows}"
# Cast, because other programs may have written other types. By id, because several messages may
# have the same timestamp.
RECENT = """
SELECT coalesce(CAST(timestamp AS INTEGER), 0) AS timestamp,
    coalesce(CAST(username AS TEXT), '') AS username, coalesce(CAST(message AS TEXT), '') AS message
FROM recent_chat
WHERE id >= (SELECT min(id) FROM (SELECT id FROM recent_chat ORDER BY id DESC LIMIT ?))
ORDER BY id
"""
DELETE_OLD = "DELETE FROM recent_chat WHERE timestamp < ?"


class Chat(Base):
    """The table `recent_chat`, and the number of messages in `user_stats`."""

    def user_chat_message(self, username: str, message: str | None = None) -> None:
        """Count a message of a known user, and store it, unless the user is "server"."""
        if username:  # v0.5.0 ignores a message without a user
            self.user_chat_messages([(self._now(), username, message)])

    def user_chat_messages(self, lines: Sequence[Line]) -> None:
        """Count and store many messages in order, each with its time."""
        with self.atomic():
            self._count(lines)
            self._store(lines)

    def _count(self, lines: Sequence[Line]) -> None:
        count = Counter(username for _, username, _ in lines)
        last = {username: int(at) for at, username, _ in lines}
        self._execute_rows(COUNT_MESSAGES, [(name, count[name], last[name]) for name in count])

    def _store(self, lines: Sequence[Line]) -> None:
        kept = [
            (int(at), username, message)
            for at, username, message in lines
            if message and username.lower() != "server"
        ]
        for run in _ascending(kept):
            self._execute_rows(INSERT, run)
            self.conn.execute(DELETE_OLD, (run[-1][0] - RETENTION,))

    def get_recent_chat(self, limit: int = 20) -> list[dict[str, Any]]:
        """Return the last messages, oldest first, as timestamp, username and message."""
        return list(self.recent_chat(limit))

    def recent_chat(self, limit: int) -> Iterator[dict[str, Any]]:
        """Yield the rows of `get_recent_chat`, each read when it is used."""
        return self._each(RECENT, (limit,))

    def get_recent_chat_since(self, minutes: int = 20, limit: int = 1000) -> list[dict[str, Any]]:
        """Return the messages of the last minutes, at most `limit`, oldest first."""
        return self._rows(
            "SELECT timestamp, username, message FROM recent_chat WHERE timestamp >= ?"
            " ORDER BY timestamp, id LIMIT ?",
            self._now() - minutes * 60,
            limit,
        )


def _ascending(lines: Sequence[tuple[int, str, str]]) -> Iterator[Sequence[tuple[int, str, str]]]:
    """Split messages where the clock was set back, so that the retention is as one by one."""
    breaks = [index for index, (a, b) in enumerate(pairwise(lines), 1) if b[0] < a[0]]
    for begin, end in pairwise([0, *breaks, len(lines)]):
        if begin < end:
            yield lines[begin:end]


def _log_messages(database: Chat, events: Sequence[tuple[float, MessageLog]]) -> None:
    database.user_chat_messages(
        [(at, each.username, each.message) for at, each in events if each.message]
    )


BULK_HANDLERS: Final[Handlers] = {MessageLog: _log_messages}
HANDLERS: Final[Handlers] = {
    MessageLog: lambda database, event: _log_messages(database, [(database.clock(), event)]),
    StatsRecentChatGet: lambda database, query: database.recent_chat(query.limit),
}
