"""The configuration of the server in docs/security.md works as it is shown."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from support.bots import Bot
from support.databases import select
from support.processes import ENVIRONMENT, SERVING, Running, run, running
from support.servers import NatsServer, nats_server

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
PASSWORDS = {"DBSVC_PASSWORD": "service-secret", "BOT_PASSWORD": "bot-secret"}

MODES = pytest.mark.parametrize("mode", [(), ("--durable",)], ids=["core", "durable"])


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NatsServer]:
    (config,) = re.findall(r"```text\n(listen: .*?)```", PAGE, re.DOTALL)
    file = tmp_path / "nats.conf"
    file.write_text(re.sub(r"^listen: .*\n", "", config))
    for name, value in PASSWORDS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    with nats_server(config=file) as server:
        yield server


def service(server: NatsServer, path: Path, *mode: str) -> Running:
    arguments = ("--nats-url", server.url, "--db-path", path, *mode)
    return Running(*arguments, NATS_USER="dbsvc", NATS_PASSWORD=PASSWORDS["DBSVC_PASSWORD"])


@asynccontextmanager
async def bot(server: NatsServer) -> AsyncIterator[tuple[Bot, list[str]]]:
    said: list[str] = []

    async def error_cb(error: Exception) -> None:
        said.append(str(error))

    password = PASSWORDS["BOT_PASSWORD"]
    nc = await nats.connect(server.url, user="bot", password=password, error_cb=error_cb)
    yield Bot(nc, "rosey.db"), said
    await nc.close()


@MODES
def test_the_service_serves_a_bot_and_the_bot_sees_what_it_has_published(
    guarded: NatsServer, path: Path, mode: tuple[str, ...]
) -> None:
    async def main() -> None:
        async with bot(guarded) as (rosey, said):
            for number in range(200):
                await rosey.publish("user.joined", username="alice")
                await rosey.publish("message.log", username="alice", message=str(number))
                (last,) = await rosey.query("stats.recent_chat.get", limit=1)
                assert last["message"] == str(number)
            assert said == []

    process = service(guarded, path, *mode)
    process.wait_for(SERVING)
    anyio.run(main)
    assert process.stop() == 0
    assert "denies" not in process.said


@pytest.mark.parametrize("command", ["ping", "stats"])
def test_the_service_is_found_by_who_connects_as_it_does(
    guarded: NatsServer, path: Path, command: str
) -> None:
    process = service(guarded, path)
    process.wait_for(SERVING)
    who = {"NATS_USER": "dbsvc", "NATS_PASSWORD": PASSWORDS["DBSVC_PASSWORD"]}
    found = run(command, "--nats-url", guarded.url, env=ENVIRONMENT | who)
    assert (found.returncode, found.stderr) == (0, "")
    assert process.stop() == 0


async def refused(nc: Client, said: list[str], subject: str) -> bool:
    """Return whether the server refuses a subscription to the subject."""
    await nc.subscribe(subject)
    await nc.flush()
    await nc.flush()
    return any(f'subscription to "{subject.lower()}"' in line.lower() for line in said)


def test_a_bot_can_read_nothing_but_its_answers(guarded: NatsServer) -> None:
    async def main() -> None:
        async with bot(guarded) as (rosey, said):
            for subject in (">", "rosey.db.>", "rosey.db.user.joined", "$JS.>", "$SRV.>"):
                assert await refused(rosey.nc, said, subject), subject

    anyio.run(main)


def test_a_bot_reaches_nothing_of_the_stream(guarded: NatsServer, path: Path) -> None:
    async def main() -> None:
        async with bot(guarded) as (rosey, said):
            for request in ("$JS.API.STREAM.DELETE.ROSEY_DB", "$JS.API.STREAM.PURGE.ROSEY_DB"):
                with pytest.raises(nats.errors.TimeoutError):
                    await rosey.nc.request(request, timeout=0.3)
            assert len([line for line in said if "permissions violation for publish" in line]) == 2
            await rosey.publish("message.log", username="alice", message="still here")
            assert len(await rosey.query("stats.recent_chat.get")) == 1

    process = service(guarded, path, "--durable")
    process.wait_for(SERVING)
    anyio.run(main)
    assert process.stop() == 0


@MODES
def test_a_requester_cannot_make_the_service_publish_where_it_may_not(
    guarded: NatsServer, path: Path, mode: tuple[str, ...]
) -> None:
    targets = ("rosey.db.user.joined", "$JS.API.STREAM.DELETE.ROSEY_DB", "elsewhere.entirely")

    async def main() -> None:
        seen: list[str] = []

        async def see(msg: Msg) -> None:
            if msg.data.startswith(b"["):
                seen.append(msg.subject)

        user = {"user": "dbsvc", "password": PASSWORDS["DBSVC_PASSWORD"]}
        spy = await nats.connect(guarded.url, **user)
        await spy.subscribe("rosey.db.>", cb=see)
        await spy.flush()
        async with bot(guarded) as (rosey, _):
            await rosey.publish("message.log", username="alice", message="hello")
            for target in targets:
                subject = "rosey.db.stats.recent_chat.get"
                await rosey.nc.publish(subject, json.dumps({}).encode(), reply=target)
            assert len(await rosey.query("stats.recent_chat.get")) == 1
            await rosey.flush()
        await spy.flush()
        await spy.close()
        assert seen == []

    process = service(guarded, path, *mode)
    process.wait_for(SERVING)
    anyio.run(main)
    assert process.stop() == 0
    assert "WARNING" not in process.said
    assert select(path, "SELECT username FROM user_stats") == []


def test_without_a_password_nobody_is_let_in(guarded: NatsServer, path: Path) -> None:
    with running("--nats-url", guarded.url, "--db-path", path) as process:
        assert process.wait() == 2
    assert "the server refuses the connection" in process.said
