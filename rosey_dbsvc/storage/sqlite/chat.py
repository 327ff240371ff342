"""What was said."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

from rosey_dbsvc.storage.sqlite.base import Base

KEPT: Final = 150 * 3600
"""How long a line stays recent, in seconds."""

Line = tuple[float, str, str | None]
"""When it was said, in Unix seconds, who said it, and what."""

COUNT_LINES = """
UPDATE user_stats SET total_chat_lines = total_chat_lines + said.column2, last_seen = said.column3
FROM (VALUES {rows}) AS said WHERE username = said.column1
"""
REMEMBER = "INSERT INTO recent_chat (timestamp, username, message) VALUES {rows}"
# By id: within one second the timestamp does not tell which came first.
RECENT = """
SELECT timestamp, username, message FROM recent_chat
WHERE id >= (SELECT min(id) FROM (SELECT id FROM recent_chat ORDER BY id DESC LIMIT ?))
ORDER BY id
"""
FORGET = "DELETE FROM recent_chat WHERE timestamp < ?"


class Chat(Base):
    """The table `recent_chat`, and the lines counted in `user_stats`."""

    def user_chat_message(self, username: str, message: str | None = None) -> None:
        """Count a line for a user who is known; remember what was said, unless by the server."""
        self.user_chat_messages([(self._now(), username, message)])

    def user_chat_messages(self, lines: Sequence[Line]) -> None:
        """Do the same for many lines, in their order, each at its time."""
        with self.conn:
            self._count(lines)
            self._remember(lines)

    def _count(self, lines: Sequence[Line]) -> None:
        count = Counter(username for _, username, _ in lines)
        last = {username: int(at) for at, username, _ in lines}
        self._execute_rows(COUNT_LINES, [(name, count[name], last[name]) for name in count])

    def _remember(self, lines: Sequence[Line]) -> None:
        kept = [
            (int(at), username, message)
            for at, username, message in lines
            if message and username.lower() != "server"
        ]
        for run in _ascending(kept):
            self._execute_rows(REMEMBER, run)
            self.conn.execute(FORGET, (run[-1][0] - KEPT,))

    def get_recent_chat(self, limit: int = 20) -> list[dict[str, Any]]:
        """Return the last lines, oldest first, as timestamp, username and message."""
        return list(self.recent_chat(limit))

    def recent_chat(self, limit: int) -> Iterator[dict[str, Any]]:
        """Yield the same."""
        return self._each(RECENT, (limit,))

    def get_recent_chat_since(self, minutes: int = 20, limit: int = 1000) -> list[dict[str, Any]]:
        """Return the lines of the last minutes, at most `limit` of them, oldest first."""
        return self._rows(
            "SELECT timestamp, username, message FROM recent_chat WHERE timestamp >= ?"
            " ORDER BY timestamp, id LIMIT ?",
            self._now() - minutes * 60,
            limit,
        )


def _ascending(lines: Sequence[tuple[int, str, str]]) -> Iterator[Sequence[tuple[int, str, str]]]:
    """Part lines where the clock was set back: a run of lines leaves what they leave one by one."""
    breaks = [index for index, (a, b) in enumerate(pairwise(lines), 1) if b[0] < a[0]]
    for begin, end in pairwise([0, *breaks, len(lines)]):
        if begin < end:
            yield lines[begin:end]
