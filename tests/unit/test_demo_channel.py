"""The simulated channel, with a clock that jumps."""

from random import Random
from typing import Any, cast

import anyio
import pytest
from trio.testing import MockClock

from rosey_dbsvc import DatabaseClient
from rosey_dbsvc.cli.demo.channel import BOT, MAX_USERS, MESSAGES, MIN_USERS, NAMES, Channel
from rosey_dbsvc.errors import NotServed


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


class Service:
    """Takes what is published, and answers as long as it is there."""

    def __init__(self, *queued: str) -> None:
        self.users: list[str] = []
        self.lines: list[tuple[str, str]] = []
        self.counts: list[int] = []
        self.queue = dict(enumerate(queued, 1))
        self.published = self.most = 0
        self.is_there = True

    async def user_joined(self, username: str) -> None:
        assert username not in self.users
        self.users.append(username)
        self.most = max(self.most, len(self.users))
        self.published += 1

    async def user_left(self, username: str) -> None:
        self.users.remove(username)
        self.published += 1

    async def user_chat_message(self, username: str, message: str) -> None:
        assert username in self.users
        self.lines.append((username, message))
        self.published += 1

    async def log_user_count(self, chat_users: int, connected_users: int) -> None:
        assert chat_users == connected_users == len(self.users)
        self.counts.append(chat_users)
        self.published += 1

    async def mark_outbound_sent(self, outbound_id: int) -> None:
        del self.queue[outbound_id]
        self.published += 1

    async def recent_chat(self, limit: int) -> list[Any]:
        await anyio.sleep(0.01)
        if not self.is_there:
            raise NotServed
        return [{"username": name, "message": text} for name, text in self.lines[-limit:]]

    async def get_unsent_outbound_messages(self, limit: int) -> list[Any]:
        await anyio.sleep(0.01)
        return [{"id": id_, "message": text} for id_, text in self.queue.items()][:limit]


def channel_of(service: Service, rate: float = 60, seed: int = 1) -> Channel:
    return Channel(cast("DatabaseClient", service), rate, Random(seed))


async def live(channel: Channel, seconds: float) -> None:
    with anyio.move_on_after(seconds):
        await channel.run()


@pytest.mark.parametrize("rate", [1, 120, 3000])
async def test_users_talk_at_the_rate(rate: float) -> None:
    service = Service()
    channel = channel_of(service, rate)
    await live(channel, 1800)
    expected = rate * 30
    assert len(service.lines) == pytest.approx(expected, abs=5 * expected**0.5)
    assert channel.messages == len(service.lines)


async def test_users_join_and_leave_and_all_that_is_published_agrees() -> None:
    service = Service()
    channel = channel_of(service, 600, seed=2)
    await live(channel, 600)
    assert channel.users == service.users
    assert channel.users[0] == BOT
    assert set(service.users) <= {BOT, *NAMES}
    assert {text for _, text in service.lines} == set(MESSAGES)
    assert BOT not in {name for name, _ in service.lines}
    assert [*channel.counts] == service.counts
    assert len(service.counts) == pytest.approx(600, abs=1)
    assert min(service.counts) >= MIN_USERS
    assert service.most <= MAX_USERS + 3
    assert max(service.counts) > 2 * min(service.counts)
    assert channel.published == service.published


async def test_the_bot_queries_and_says_what_is_queued_in_order() -> None:
    service = Service("one", "two", "three")
    channel = channel_of(service)
    await live(channel, 60)
    assert [text for name, text in service.lines if name == BOT] == ["one", "two", "three"]
    assert [message["id"] for message in channel.sent] == [1, 2, 3]
    assert (channel.queued, service.queue) == ([], {})
    assert [line["message"] for line in channel.chat] == [text for _, text in service.lines[-8:]]
    assert channel.queries == pytest.approx(2 * 60 / 0.52, abs=2)
    assert channel.median_time == pytest.approx(0.01)


async def test_while_no_service_replies_each_queued_message_is_said_once() -> None:
    service = Service("one", "two")
    channel = channel_of(service)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(channel.run)
        await anyio.sleep(1)
        service.is_there = False
        await anyio.sleep(60)
        assert [text for name, text in service.lines if name == BOT] == ["one", "two"]
        assert channel.problem == "No service is running."
        service.is_there = True
        await anyio.sleep(1)
        assert channel.problem == ""
        tasks.cancel_scope.cancel()


async def test_after_a_night_asleep_it_does_not_say_the_messages_of_a_night(
    anyio_backend: tuple[str, dict[str, Any]],
) -> None:
    clock = anyio_backend[1]["clock"]
    service = Service()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(channel_of(service, 600, seed=5).run)
        await anyio.sleep(30)
        before = len(service.lines)
        clock.jump(8 * 3600)
        await anyio.sleep(1)
        tasks.cancel_scope.cancel()
    assert before == pytest.approx(300, abs=90)
    assert len(service.lines) - before < 60
