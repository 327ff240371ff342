"""The examples run as they are."""

import difflib
import subprocess
import sys
from pathlib import Path

import pytest
from support.databases import select
from support.processes import ENVIRONMENT, SERVING, running
from support.servers import NatsServer

from rosey_dbsvc import BotDatabase

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def queued(path: Path) -> Path:
    database = BotDatabase(path)
    database.enqueue_outbound_message("welcome, all")
    database.close()
    return path


def example(name: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_evening(said: str, path: Path) -> None:
    assert said.count("<bot> welcome, all\n") == 1
    assert said.endswith("9 lines are remembered\n")
    visits = select(path, "SELECT total_chat_lines, current_session_start FROM user_stats")
    assert visits == [(3, None)] * 3
    assert select(path, "SELECT sent FROM outbound_messages") == [(1,)]


def test_the_bot_on_asyncio_beside_a_service(own_server: NatsServer, queued: Path) -> None:
    with running("--nats-url", own_server.url, "--db-path", queued) as process:
        process.wait_for(SERVING)
        said = example("bot_asyncio", own_server.url)
        assert process.stop() == 0
    check_evening(said, queued)


def test_the_bot_on_trio_with_the_service_inside(own_server: NatsServer, queued: Path) -> None:
    check_evening(example("bot_trio", queued, own_server.url), queued)


def test_a_bot_of_direct_calls_needs_another_constructor_and_an_await_before_each(
    own_server: NatsServer, tmp_path: Path
) -> None:
    paths = [tmp_path / "before.db", tmp_path / "after.db"]
    for path in paths:
        database = BotDatabase(path)
        database.enqueue_outbound_message("welcome, all")
        database.close()
    before = example("before", paths[0])
    with running("--nats-url", own_server.url, "--db-path", paths[1]) as process:
        process.wait_for(SERVING)
        after = example("after", own_server.url)
        assert process.stop() == 0
    assert before == after == "alice good evening\nto say: welcome, all\n"


def test_what_changes_in_its_evening_is_an_await() -> None:
    before, after = (evening(EXAMPLES / f"{name}.py") for name in ("before", "after"))
    added = [line for line in difflib.ndiff(before, after) if line.startswith("+ ")]
    assert len(added) == 9
    assert [
        line.replace("await ", "").replace("DatabaseClient", "BotDatabase") for line in after
    ] == (before)


def evening(file: Path) -> list[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith("async def evening"))
    end = next(n for n, line in enumerate(lines) if line.startswith("async def main"))
    return lines[begin:end]


def test_without_a_server_a_bot_says_so_in_one_line(own_server: NatsServer) -> None:
    own_server.kill()
    done = subprocess.run(
        [sys.executable, EXAMPLES / "bot_asyncio.py", own_server.url],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=ENVIRONMENT,
    )
    (line,) = done.stderr.splitlines()
    assert line.startswith("bot: no NATS server responds at")
