"""The log of `rosey-dbsvc run`: plain, as JSON, and on a terminal."""

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import anyio
import nats
import pytest
from support.bots import Bot
from support.processes import COMMAND, ENVIRONMENT, SERVING, run, running
from support.servers import NatsServer


def test_in_a_pipe_it_says_plain_lines(own_server: NatsServer, path: Path) -> None:
    with running("--nats-url", own_server.url, "--db-path", path) as process:
        process.wait_for(SERVING)
        assert process.stop() == 0
        for line in process.lines:
            assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ .+\n", line)
            assert "\x1b" not in line


def test_with_json_each_line_is_an_object_with_fields_errors_too(
    own_server: NatsServer, path: Path
) -> None:
    arguments = ("--nats-url", own_server.url, "--db-path", path, "--log-format", "json")
    with running(*arguments) as process:
        process.wait_for(SERVING)
        second = run("run", *arguments)
        anyio.run(be_rejected, own_server.url)
        assert process.stop() == 0
    assert second.returncode == 2
    records = [json.loads(line) for line in process.lines]
    refusal = json.loads(second.stderr.splitlines()[-1])
    for record in (*records, refusal):
        assert {"time", "level", "logger", "message"} <= set(record)
    assert refusal["level"] == "critical"
    (serving,) = (each for each in records if each["message"].startswith("serving rosey.db.>"))
    assert serving["subject"] == "rosey.db.>"
    assert serving["url"] == own_server.url
    assert serving["database"] == str(path)
    (rejected,) = (each for each in records if each["message"].startswith("rejected"))
    assert rejected["level"] == "warning"
    assert rejected["subject"] == "rosey.db.user.joined"
    assert rejected["reason"] in rejected["message"]
    assert "username" in rejected["reason"]


async def be_rejected(url: str) -> None:
    bot = Bot(await nats.connect(url), "rosey.db")
    await bot.publish("user.joined", username=7)
    await bot.committed()
    await bot.nc.close()


def test_on_a_terminal_it_is_pleasant_to_read(own_server: NatsServer, path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {**ENVIRONMENT, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR")
    command = [*COMMAND, "run", "--nats-url", own_server.url, "--db-path", str(path)]
    process = subprocess.Popen(command, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    while b"serving" not in seen:
        seen += os.read(ours, 4096)
    process.terminate()
    assert process.wait(timeout=30) == 0
    os.close(ours)
    assert b"\x1b[" in seen, "it has colours"
    assert b"INFO" in seen


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_reason_not_to_serve(
    own_server: NatsServer, path: Path, closed: str
) -> None:
    command = (*COMMAND, "run", "--nats-url", own_server.url, "--db-path", str(path))
    shell = ("sh", "-c", f'exec "$@" {closed}', "sh", *command)
    process = subprocess.Popen(shell, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    answers = anyio.run(wait_for_answer, own_server.url)
    process.terminate()
    assert process.wait(timeout=30) == 0
    assert answers == []


async def wait_for_answer(url: str) -> list[str]:
    bot = Bot(await nats.connect(url), "rosey.db")
    with anyio.fail_after(20):
        while True:
            try:
                return list(await bot.query("stats.recent_chat.get"))
            except nats.errors.NoRespondersError:
                await anyio.sleep(0.05)
            finally:
                if bot.nc.is_connected:
                    await bot.nc.flush()
