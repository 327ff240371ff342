"""The channel that is made up, at a clock that jumps."""

from collections import Counter
from random import Random
from typing import Any, cast

import anyio
import pytest
from trio.testing import MockClock

from rosey_dbsvc import DatabaseClient
from rosey_dbsvc.cli.demo.channel import BOT, BUSIEST, LINES, NAMES, QUIETEST, Channel


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


class Diary:
    """Takes what is told, and knows who is here."""

    def __init__(self) -> None:
        self.here: list[str] = []
        self.lines: list[tuple[str, str]] = []
        self.counts: list[tuple[int, int]] = []
        self.most = 0
        self.told: Counter[str] = Counter()

    async def user_joined(self, username: str) -> None:
        assert username not in self.here
        self.told["joined"] += 1
        self.here.append(username)
        self.most = max(self.most, len(self.here))

    async def user_left(self, username: str) -> None:
        self.told["left"] += 1
        if username in self.here:  # at the end all are told to leave
            self.here.remove(username)

    async def user_chat_message(self, username: str, message: str) -> None:
        assert username in self.here
        self.lines.append((username, message))

    async def log_user_count(self, chat_users: int, connected_users: int) -> None:
        assert chat_users == len(self.here)
        self.counts.append((chat_users, connected_users))


async def live(channel: Channel, seconds: float) -> None:
    await channel.open()
    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as tasks:
            for each in (channel.talk, channel.move, channel.count):
                tasks.start_soon(each)


@pytest.mark.parametrize("rate", [1, 120, 3000])
async def test_people_talk_at_the_rate(rate: float) -> None:
    diary = Diary()
    channel = Channel(cast("DatabaseClient", diary), rate, Random(1))
    await live(channel, 1800)
    expected = rate * 30
    assert len(diary.lines) == pytest.approx(expected, abs=5 * expected**0.5)
    assert channel.lines == len(diary.lines)
    last_minute = channel.lines_per_minute
    assert last_minute == pytest.approx(rate, abs=5 * rate**0.5 + 1)


async def test_people_come_and_go_and_what_is_told_of_them_agrees() -> None:
    diary = Diary()
    channel = Channel(cast("DatabaseClient", diary), 600, Random(2))
    await live(channel, 600)
    assert channel.present == diary.here
    assert channel.present[0] == BOT
    assert set(diary.here) <= {BOT, *NAMES}
    assert {text for _, text in diary.lines} == set(LINES)
    assert BOT not in {name for name, _ in diary.lines}
    counts = [here for here, _ in diary.counts]
    assert [*channel.history] == counts
    assert len(counts) == pytest.approx(600, abs=1)
    assert min(counts) >= QUIETEST
    assert diary.most <= BUSIEST + 3
    assert max(counts) > 2 * min(counts)
    assert all(connected >= here for here, connected in diary.counts)
    told = diary.told["joined"] + diary.told["left"] + len(diary.lines) + len(counts)
    assert channel.told == told


async def test_everybody_leaves_at_the_end() -> None:
    diary = Diary()
    channel = Channel(cast("DatabaseClient", diary), 60, Random(3))
    await live(channel, 30)
    assert len(diary.here) > 1
    await channel.close()
    assert diary.here == channel.present == []


async def test_the_rate_shown_is_that_of_the_last_minute() -> None:
    channel = Channel(cast("DatabaseClient", Diary()), 60, Random(4))
    assert channel.lines_per_minute == 0
    await channel.open()
    with anyio.move_on_after(200.5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(channel.count)
            for _ in range(90):
                await channel.say(BOT, "hello")
            await anyio.sleep(10.5)
            assert channel.lines_per_minute == 90 * 6  # of ten seconds
            await anyio.sleep(40)
            assert channel.lines_per_minute == pytest.approx(90 * 60 / 50)
            await anyio.sleep(30)
            assert channel.lines_per_minute == 0


async def test_whoever_was_about_to_come_or_to_go_when_it_was_cut_short_leaves() -> None:
    class Slow(Diary):
        async def user_joined(self, username: str) -> None:
            await super().user_joined(username)
            await anyio.sleep(1)

        async def user_left(self, username: str) -> None:
            await anyio.sleep(1)
            await super().user_left(username)

    for cut_after in range(60):
        diary = Slow()
        channel = Channel(cast("DatabaseClient", diary), 60, Random(cut_after))
        with anyio.move_on_after(0.5 + cut_after):
            await channel.open()
            await channel.move()
        await channel.close()
        assert diary.here == []


async def test_after_a_night_asleep_it_does_not_say_a_night_s_lines(
    anyio_backend: tuple[str, dict[str, Any]],
) -> None:
    clock = anyio_backend[1]["clock"]
    diary = Diary()
    channel = Channel(cast("DatabaseClient", diary), 600, Random(5))
    await channel.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(channel.talk)
        await anyio.sleep(30)
        before = len(diary.lines)
        clock.jump(8 * 3600)
        await anyio.sleep(1)
        tasks.cancel_scope.cancel()
    assert before == pytest.approx(300, abs=90)
    assert len(diary.lines) - before < 60
