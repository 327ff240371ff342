"""Abuse by clients, which costs nobody but the client itself."""

import json
import re
import signal
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import datetime, timedelta
from itertools import cycle, islice, pairwise
from pathlib import Path
from threading import Thread
from typing import Any, Final, NamedTuple

import anyio
import nats
import psutil
import pytest
from support.bots import Bot
from support.databases import lock_elsewhere, select
from support.flood import line
from support.golden import golden
from support.processes import SERVING, Running, run, running
from support.raw import INBOX, PING, RawClient, message
from support.servers import NatsServer

from rosey_dbsvc import BotDatabase
from rosey_dbsvc.operations import EVENTS, QUERIES
from rosey_dbsvc.operations.base import Operation
from rosey_dbsvc.storage.sqlite.storage import MAX_READERS

MIB: Final = 1024 * 1024
PATIENCE: Final = 50
PREFIX: Final = "rosey.db"
CHAT: Final = "stats.recent_chat.get"
QUESTION: Final = f"{PREFIX}.{CHAT}"


@contextmanager
def serving(server: NatsServer, path: Path) -> Iterator[Running]:
    """A service that stops as asked in the end, and has met with no error."""
    with running("--nats-url", server.url, "--db-path", path) as process:
        process.wait_for(SERVING)
        yield process
        assert process.stop() == 0
        assert not re.search("ERROR|CRITICAL|Traceback|disconnected", process.said)


@pytest.fixture
def served(own_server: NatsServer, path: Path) -> Iterator[Running]:
    with serving(own_server, path) as process:
        yield process


@asynccontextmanager
async def bots(url: str, count: int) -> AsyncIterator[list[Bot]]:
    made = [Bot(await nats.connect(url), PREFIX) for _ in range(count)]
    for bot in made:
        await bot.committed()
    yield made
    for bot in made:
        await bot.nc.close()


# Many queries

CROWD: Final = 4
EACH: Final = 1000


class Answer(NamedTuple):
    own: tuple[str, str]
    limit: int
    rows: list[tuple[str, str]]


class Crowd:
    """Bots that each publish and request a thousand times before the service can reply once."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    async def ask_at_once(self, url: str, process: Running) -> None:
        async with bots(url, CROWD) as crowd, anyio.create_task_group() as tasks:
            process.send(signal.SIGSTOP)
            for number in range(EACH):
                for index, bot in enumerate(crowd):
                    tasks.start_soon(self._ask, bot, f"bot{index}", number)
            await anyio.wait_all_tasks_blocked()
            for bot in crowd:
                await bot.flush()
            process.send(signal.SIGCONT)

    async def _ask(self, bot: Bot, name: str, number: int) -> None:
        own, limit = (name, str(number)), 1 + number % 50
        await bot.publish("message.log", username=name, message=own[1])
        reply = await bot.request(CHAT, b'{"limit": %d}' % limit, timeout=PATIENCE)
        assert reply.headers is None, reply.headers
        rows = [(row["username"], row["message"]) for row in json.loads(reply.data)]
        self.answers.append(Answer(own, limit, rows))


def is_right(answer: Answer, said: list[tuple[Any, ...]], places: dict[Any, int]) -> bool:
    """Return whether the table once ended with it, and had what its bot published before."""
    end = places[answer.rows[-1]] + 1
    begin = max(0, end - answer.limit)
    return places[answer.own] < end and answer.rows == said[begin:end]


def test_four_thousand_questions_at_once_among_events_are_all_answered_right(
    own_server: NatsServer, served: Running, path: Path
) -> None:
    crowd, before = Crowd(), served.peak
    anyio.run(crowd.ask_at_once, own_server.url, served)
    said = select(path, "SELECT username, message FROM recent_chat ORDER BY id")
    assert len(said) == len(crowd.answers) == CROWD * EACH
    places = {row: place for place, row in enumerate(said)}
    assert [each for each in crowd.answers if not is_right(each, said, places)] == []
    assert run("ping", "--nats-url", own_server.url).returncode == 0
    assert served.peak - before < 32 * MIB, "11 measured"


# Large replies

TOO_LARGE: Final = b'{"limit": 1000}'
JUST_NOT: Final = b'{"limit": 14}'


@pytest.fixture
def long_lines(path: Path) -> None:
    """A file with 1,000 lines of 64 KiB, each of which takes Python four times that."""
    with closing(BotDatabase(path)) as database:
        now = time.time()
        lines = [(now, "a", f"{number:65532}🌹") for number in range(1000)]
        database.user_chat_messages(lines)


async def ask_for_too_much(url: str, times: int) -> list[tuple[str, bytes]]:
    """Request so many times at once, and then one message."""
    answers: list[tuple[str, bytes]] = []
    async with bots(url, 1) as (bot,):
        async with anyio.create_task_group() as tasks:
            for _ in range(times):
                tasks.start_soon(ask_once_for_too_much, bot, answers)
        assert len(await bot.query(CHAT, limit=1)) == 1
    return answers


async def ask_once_for_too_much(bot: Bot, answers: list[tuple[str, bytes]]) -> None:
    reply = await bot.request(CHAT, TOO_LARGE, timeout=PATIENCE)
    assert reply.headers
    answers.append((reply.headers["Nats-Service-Error-Code"], reply.data))


@pytest.mark.usefixtures("long_lines", "served")
def test_who_asks_for_64_mib_is_told_413_and_gets_the_next_answer(own_server: NatsServer) -> None:
    for times in (1, 50):
        answers = anyio.run(ask_for_too_much, own_server.url, times)
        assert answers == [("413", b"[]")] * times


@pytest.mark.usefixtures("long_lines")
def test_64_mib_asked_for_200_times_at_once_take_a_few(
    own_server: NatsServer, served: Running
) -> None:
    before = served.peak
    anyio.run(ask_for_too_much, own_server.url, 200)
    assert served.peak - before < 64 * MIB, "17 measured"


@pytest.mark.usefixtures("long_lines")
def test_a_thousand_large_answers_for_a_server_that_hangs_take_some(
    own_server: NatsServer, served: Running
) -> None:
    before = served.peak
    with RawClient(own_server.port) as asking:
        served.send(signal.SIGSTOP)
        asking.send(1000 * message(QUESTION, JUST_NOT, INBOX) + PING)
        asking.read_until(b"PONG")
        own_server.send(signal.SIGSTOP)
        served.send(signal.SIGCONT)
        wait_until_nothing_moves(served)
        own_server.send(signal.SIGCONT)
        anyio.run(ask_for_a_line, own_server.url, 100)
    assert served.peak - before < 128 * MIB, "55 measured"


def wait_until_nothing_moves(process: Running) -> None:
    """Wait until it has read what it can: its processor time stands still."""
    watched, before = psutil.Process(process.pid), -1.0
    while (now := sum(watched.cpu_times()[:2])) != before:
        before = now
        time.sleep(0.3)


# Clients that do not read, or are gone


async def ask_for_a_line(url: str, times: int) -> None:
    async with bots(url, 1) as (bot,):
        for _ in range(times):
            assert len(await bot.query(CHAT, limit=1)) == 1


@pytest.mark.usefixtures("long_lines", "served")
def test_who_never_reads_its_answers_is_cut_off_and_others_get_theirs(
    own_server: NatsServer,
) -> None:
    with RawClient(own_server.port) as deaf:
        deaf.send(200 * message(QUESTION, JUST_NOT, INBOX))
        anyio.run(ask_for_a_line, own_server.url, 100)
        assert deaf.is_cut_off()
    anyio.run(ask_for_a_line, own_server.url, 100)


def test_answers_that_nobody_waits_for_are_given_without_a_word(
    own_server: NatsServer, path: Path
) -> None:
    with serving(own_server, path) as served:
        with RawClient(own_server.port) as absent:
            absent.send(message(f"{PREFIX}.message.log", line(1)))
            absent.send(2000 * message(QUESTION, b"{}", b"_INBOX.nobody"))
            absent.ask(QUESTION)
        for _ in range(100):
            with RawClient(own_server.port) as leaving:
                leaving.send(50 * message(QUESTION, b"{}", INBOX))
        anyio.run(ask_for_a_line, own_server.url, 100)
    assert "WARNING" not in served.said


# More than the disk takes

FLOOD: Final = 1_000_000
CHUNK: Final = 20_000
HELD: Final = 524_288 + 200_000
DROPPING: Final = r"^(\S+ \S+) WARNING messages arrive faster .* dropped so far$"


def flood(port: int) -> None:
    """Publish a million lines, each chunk when the service has got the one before.

    If it were further behind, the server would cut it off.
    """
    with RawClient(port) as client:
        for begin in range(0, FLOOD, CHUNK):
            lines = (line(number) for number in range(begin, begin + CHUNK))
            client.send(b"".join(message(f"{PREFIX}.message.log", each) for each in lines))
            client.ask("$SRV.PING.rosey-dbsvc")


def settled(url: str) -> dict[str, int]:
    """Return the counters when nothing is pending; a busy service may take a while."""
    while True:
        shown = run("stats", "--nats-url", url, "--json")
        if shown.returncode == 0:
            (service,) = json.loads(shown.stdout)
            numbers: dict[str, int] = service["endpoints"][0]["data"]
            if not numbers["pending"]:
                return numbers


def said_at_times(pattern: str, text: str) -> bool:
    """Return whether there are such lines, with ten seconds or more between them."""
    found = re.findall(pattern, text, re.MULTILINE)
    at = [datetime.strptime(f"{each}+0000", "%Y-%m-%d %H:%M:%S,%f%z") for each in found]
    return bool(at) and all(b - a > timedelta(seconds=9.9) for a, b in pairwise(at))


@pytest.mark.soak
def test_a_million_events_for_a_locked_file_are_applied_or_dropped_counted_and_said_once(
    own_server: NatsServer, path: Path
) -> None:
    with serving(own_server, path) as served:
        before, holder = served.peak, lock_elsewhere(path)
        flood(own_server.port)
        holder.communicate()
        found = settled(own_server.url)
        assert served.peak - before < HELD * 512, "half a KiB for each that may wait"
    assert found["dropped"] > 0
    assert found["applied"] + found["dropped"] == FLOOD
    said = select(path, "SELECT CAST(message AS INTEGER) FROM recent_chat ORDER BY id")
    assert said == [(number,) for number in range(found["applied"])], "the newest are dropped"
    assert said_at_times(DROPPING, served.said)
    assert served.said.count(f" WARNING {found['dropped']} messages were dropped\n") == 1


# Hours of it

ROUND: Final = 10_000
WARM: Final = 4
ROUNDS: Final = 20


class Size(NamedTuple):
    files: int
    threads: int
    memory: int


def size(process: psutil.Process) -> Size:
    return Size(process.num_fds(), process.num_threads(), process.memory_info().rss)


Messages = Iterable[tuple[str, bytes]]


def payloads(operations: Iterable[type[Operation]], kind: str) -> list[tuple[str, bytes]]:
    """Return accepted or rejected payloads, without the longest, which take a while."""
    found = [
        (f"{PREFIX}.{operation.name}", json.dumps(one["payload"]).encode())
        for operation in operations
        for one in golden(operation)[kind]
    ]
    return [(subject, payload) for subject, payload in found if len(payload) < 1000]


TOLD: Final = (payloads(EVENTS, "accepted"), 8_000), (payloads(EVENTS, "rejected"), 500)
FINDERS: Final = [(f"$SRV.{verb}.rosey-dbsvc", b"") for verb in ("PING", "INFO", "STATS")]
ASKED: Final = (
    (payloads(QUERIES, "accepted"), 1_000),
    (payloads(QUERIES, "rejected"), 400),
    (FINDERS, 90),
)
VISITORS: Final = 10


class Life:
    """Operations of all kinds, ten thousand a round."""

    def __init__(self, bot: Bot, url: str) -> None:
        self._bot = bot
        self._url = url

    async def pass_by(self) -> None:
        for messages, count in TOLD:
            for subject, payload in islice(cycle(messages), count):
                await self._bot.nc.publish(subject, payload)
        for messages, count in ASKED:
            await self._ask(islice(cycle(messages), count))
        for _ in range(VISITORS):
            async with bots(self._url, 1):
                pass

    async def _ask(self, questions: Messages) -> None:
        async with anyio.create_task_group() as tasks:
            for subject, payload in questions:
                tasks.start_soon(self._ask_one, subject, payload)

    async def _ask_one(self, subject: str, payload: bytes) -> None:
        await self._bot.nc.request(subject, payload, timeout=PATIENCE)


async def live(url: str, process: psutil.Process, path: Path) -> list[Size]:
    async with bots(url, 1) as (bot,):
        life, sizes = Life(bot, url), []
        for _ in range(WARM):
            await life.pass_by()
        while connections(process, path) < 1 + MAX_READERS:
            await life.pass_by()
        for _ in range(ROUNDS):
            await life.pass_by()
            sizes.append(size(process))
        await bot.publish("status.update", status="over")
    return sizes


def connections(process: psutil.Process, path: Path) -> int:
    return sum(file.path == str(path) for file in process.open_files())


@pytest.mark.soak
def test_two_hundred_thousand_operations_of_all_kinds_leave_nothing_behind(
    own_server: NatsServer, served: Running, path: Path
) -> None:
    # Or its pipe would be full.
    log = Thread(target=served.wait_for, args=["Bot status: over"], daemon=True)
    log.start()
    sizes = anyio.run(live, own_server.url, psutil.Process(served.pid), path)
    log.join()
    assert {each.files for each in sizes} == {sizes[0].files}
    assert max(each.threads for each in sizes) <= MAX_READERS + 4
    growth = sizes[-1].memory - sizes[ROUNDS // 2 - 1].memory
    assert growth < 3 * MIB, "up to 1 measured, as SQLite's caches are not full yet"
