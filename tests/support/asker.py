"""A bot in its own process that sends queries all the time, and measures gaps between replies.

For each line on its standard input it prints the longest gap since the line before, in seconds, and
the numbers of replies and of stale replies.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import nats
from anyio import to_thread
from nats.errors import Error

from support.flood import quiet

PATIENCE = 0.5
PAUSE = 0.02


class Asker:
    def __init__(self) -> None:
        self.last = anyio.current_time()
        self.gap = 0.0
        self.answers = 0
        self.stale = 0

    async def ask(self, urls: str, prefix: str) -> None:
        nc = await nats.connect(
            urls.split(","), error_cb=quiet, max_reconnect_attempts=-1, reconnect_time_wait=0.1
        )
        while True:
            try:
                reply = await nc.request(
                    f"{prefix}.stats.recent_chat.get", b'{"limit": 1}', timeout=PATIENCE + 1
                )
            except (Error, OSError):
                await anyio.sleep(PAUSE)
                continue
            if reply.headers is None or "Rosey-Stale" in reply.headers:
                self.answered(stale=reply.headers is not None)
            await anyio.sleep(PAUSE)

    def answered(self, *, stale: bool) -> None:
        now = anyio.current_time()
        self.gap = max(self.gap, now - self.last)
        self.last = now
        self.answers += 1
        self.stale += stale

    def report(self) -> str:
        self.gap = max(self.gap, anyio.current_time() - self.last)
        said = json.dumps({"gap": self.gap, "answers": self.answers, "stale": self.stale})
        self.gap, self.answers, self.stale = 0.0, 0, 0
        return said


async def main(urls: str, prefix: str) -> None:
    asker = Asker()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(asker.ask, urls, prefix)
        while await to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            print(asker.report(), flush=True)
        tasks.cancel_scope.cancel()


class Asking:
    """The process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def report(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())  # type: ignore[no-any-return]


@contextmanager
def asking(urls: str, prefix: str) -> Iterator[Asking]:
    process = subprocess.Popen(
        [sys.executable, "-m", "support.asker", urls, prefix],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    try:
        yield Asking(process)
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
