"""The bot of the demo, at a clock that jumps."""

from random import Random
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
from trio.testing import MockClock

from rosey_dbsvc import DatabaseClient
from rosey_dbsvc.cli.demo.bot import Bot
from rosey_dbsvc.cli.demo.channel import Channel
from rosey_dbsvc.cli.demo.file import File
from rosey_dbsvc.errors import NotServed


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


class Away:
    """Answers once, and then no more; it takes what is told, as NATS does."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._answers = 1

    async def recent_chat(self, limit: int) -> list[Any]:
        if not self._answers:
            raise NotServed
        self._answers -= 1
        return []

    async def get_unsent_outbound_messages(self, limit: int) -> list[Any]:
        return [{"id": 1, "message": "hello"}, {"id": 2, "message": "of another program"}][:limit]

    async def user_chat_message(self, username: str, message: str) -> None:
        self.said.append(message)

    async def mark_outbound_sent(self, outbound_id: int) -> None:
        assert outbound_id == 1


class Queue:
    """A file in which one message is queued."""

    path = "bot_data.db"

    async def queue(self, text: str) -> int:
        await anyio.lowlevel.checkpoint()
        return 1

    async def present(self) -> list[str]:
        return ["demo-bot"]

    async def history(self, most: int) -> list[int]:
        return [1][:most]


async def test_while_no_service_answers_a_message_is_said_once() -> None:
    away = Away()
    db = cast("DatabaseClient", away)
    bot = Bot(db, Channel(db, 60, Random(1)), cast("File", Queue()))
    with anyio.move_on_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bot.queue, Random(1))
            await anyio.sleep(1)
            tasks.start_soon(bot.look)
    assert away.said == ["hello"]
    assert [message["id"] for message in bot.sent] == [1]
    assert bot.troubles == {"asking": "No service answers."}
