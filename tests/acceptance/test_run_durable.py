"""`rosey-dbsvc run --durable` through kills, and `rosey-dbsvc replay`."""

import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import nats
import pytest
from support.bots import Bot
from support.databases import select
from support.flood import flooding
from support.log import contents, numbers, publish
from support.processes import SERVING, Running, run, running
from support.servers import NatsServer, free_port, nats_server

LONGEST_LIFE = 1.0
DURABILITY = (Path(__file__).parents[2] / "docs" / "durability.md").read_text(encoding="utf-8")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "jetstream"


@pytest.fixture
def stream_server(store: Path) -> Iterator[NatsServer]:
    with nats_server("-js", "-sd", str(store)) as server:
        yield server


def serving(server: NatsServer, path: Path, *arguments: object) -> Running:
    return Running("--nats-url", server.url, "--db-path", path, "--durable", *arguments)


def let_serve(server: NatsServer, path: Path) -> None:
    """Serve until the database has all that the stream has."""
    with running("--nats-url", server.url, "--db-path", path, "--durable") as process:
        process.wait_for(SERVING)
        assert process.stop() == 0


@pytest.mark.kills
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_20_ends_at_random_moments_under_load_lose_nothing_and_double_nothing(
    stream_server: NatsServer, path: Path, number: signal.Signals
) -> None:
    let_serve(stream_server, path)  # the stream is there
    with flooding(stream_server.url, "rosey.db") as flood:
        for _ in range(20):
            process = serving(stream_server, path)
            if number == signal.SIGTERM:  # before, it ends as any program does
                process.wait_for(SERVING)
            time.sleep(random.uniform(0, LONGEST_LIFE))
            assert process.stop(number) in {0, -signal.SIGKILL}
            assert "Traceback" not in process.said
        count = flood.end()
    let_serve(stream_server, path)
    assert numbers(path) == list(range(count))


@pytest.mark.kills
def test_a_server_that_is_killed_5_times_under_load_costs_nothing(
    stream_server: NatsServer, path: Path
) -> None:
    with running("--nats-url", stream_server.url, "--db-path", path, "--durable") as process:
        process.wait_for(SERVING)
        with flooding(stream_server.url, "rosey.db", acked=True) as flood:
            for _ in range(5):
                time.sleep(random.uniform(0.5, 1.5))
                stream_server.kill()
                time.sleep(random.uniform(0, 1))
                stream_server.start()
            count = flood.end()
        assert anyio.run(settled, stream_server.url)
        assert process.stop() == 0
        assert "Traceback" not in process.said
    assert numbers(path) == list(range(count))


async def settled(url: str) -> bool:
    """Return when a query is answered, and is not behind."""
    bot = Bot(await nats.connect(url), "rosey.db")
    with anyio.fail_after(60):
        while True:
            try:
                await bot.query("stats.recent_chat.get", limit=1)
            except (nats.errors.Error, AssertionError):
                await anyio.sleep(0.05)
            else:
                break
    await bot.nc.close()
    return True


async def publish_all(url: str, count: range) -> None:
    nc = await nats.connect(url)
    await publish(nc, "rosey.db", count, acked=False)
    await nc.flush()
    await nc.flush()
    await nc.close()


def test_100_000_events_published_while_it_is_down_are_all_there_and_replayed_the_tables_are_equal(
    stream_server: NatsServer, path: Path, tmp_path: Path
) -> None:
    let_serve(stream_server, path)
    anyio.run(publish_all, stream_server.url, range(100_000))
    with running("--nats-url", stream_server.url, "--db-path", path, "--durable") as process:
        process.wait_for("following the stream ROSEY_DB from 1: 100000 events behind")
        process.wait_for(SERVING)
        assert process.stop() == 0
    assert numbers(path) == list(range(100_000))
    new = tmp_path / "new.db"
    replayed = run("replay", "--nats-url", stream_server.url, "--db-path", new)
    assert replayed.returncode == 0, replayed.stderr
    assert replayed.stdout == f"100000 events of the stream ROSEY_DB applied to {new}\n"
    assert contents(new) == contents(path)


def test_a_replay_goes_on_where_it_was_and_takes_no_file_of_others(
    stream_server: NatsServer, path: Path, tmp_path: Path
) -> None:
    let_serve(stream_server, path)
    new = tmp_path / "new.db"
    for part in range(3):
        anyio.run(publish_all, stream_server.url, range(part * 10, part * 10 + 10))
        assert run("replay", "--nats-url", stream_server.url, "--db-path", new).stdout.startswith(
            "10 events"
        )
    assert numbers(new) == list(range(30))
    core = tmp_path / "core.db"
    with running("--nats-url", stream_server.url, "--db-path", core) as process:
        process.wait_for(SERVING)
        anyio.run(publish_all, stream_server.url, range(2))
        assert process.stop() == 0
    refused = run("replay", "--nats-url", stream_server.url, "--db-path", core)
    assert refused.returncode == 2
    assert f"{core} exists and is not from the stream ROSEY_DB: name a new file" in refused.stderr
    assert not select(core, "SELECT name FROM sqlite_master WHERE name LIKE 'rosey_dbsvc%'")


def test_a_replay_of_no_stream_is_one_line(stream_server: NatsServer, tmp_path: Path) -> None:
    refused = run("replay", "--nats-url", stream_server.url, "--db-path", tmp_path / "new.db")
    assert refused.returncode == 2
    assert re.search("refuses the stream ROSEY_DB: stream not found: there is no", refused.stderr)
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--stream", "a.b", "--durable"), "--stream: expected letters"),
        (("--stream-replicas", "9", "--durable"), "--stream-replicas: expected 1 to 5"),
        (
            ("--stream-max-age", "week", "--durable"),
            "--stream-max-age: expected a duration",
        ),
        (
            ("--stream-max-bytes", "big", "--durable"),
            "--stream-max-bytes: expected a size like",
        ),
        (("--stream-max-bytes", "1G"), "the --stream flags need --durable: add it"),
    ],
)
def test_a_flag_of_the_stream_without_a_use_is_one_line(
    arguments: tuple[str, ...], said: str
) -> None:
    refused = run("run", *arguments)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_server_without_jetstream_is_one_line_that_says_how_to_switch_it_on(
    server: NatsServer, path: Path
) -> None:
    refused = run("run", "--nats-url", server.url, "--db-path", path, "--durable")
    assert refused.returncode == 2
    (critical,) = [line for line in refused.stderr.splitlines() if "CRITICAL" in line]
    assert critical.endswith("no JetStream: start it with `nats-server -js -sd DIRECTORY`.")


def test_the_embedded_server_stores_beside_the_database(path: Path) -> None:
    port = free_port()
    for part in range(2):
        with running("--db-path", path, "--durable", "--local-port", port) as process:
            url = process.wait_for(SERVING)[1]
            anyio.run(publish_all, url, range(part * 10, part * 10 + 10))
            assert anyio.run(settled, url)
            assert process.stop() == 0
    assert numbers(path) == list(range(20))
    assert path.with_name("bot_data.db.jetstream").is_dir()
    new = path.with_name("new.db")
    with running("--db-path", path, "--durable", "--local-port", port) as process:
        url = process.wait_for(SERVING)[1]
        assert run("replay", "--nats-url", url, "--db-path", new).returncode == 0
        assert process.stop() == 0
    assert contents(new) == contents(path)


def test_the_environment_can_ask_for_it(stream_server: NatsServer, path: Path) -> None:
    env = {"ROSEY_DBSVC_DURABLE": "1", "ROSEY_DBSVC_STREAM": "OTHER", "NATS_URL": stream_server.url}
    with running("--db-path", path, **env) as process:
        process.wait_for("following the stream OTHER from 1: 0 events behind")
        process.wait_for(SERVING)
        assert process.stop() == 0


def test_a_replay_that_is_broken_off_says_so_and_goes_on_when_it_is_called_again(
    stream_server: NatsServer, path: Path, tmp_path: Path
) -> None:
    let_serve(stream_server, path)
    anyio.run(publish_all, stream_server.url, range(200_000))
    new = tmp_path / "new.db"
    arguments = ("--nats-url", stream_server.url, "--db-path", new)
    with running(*arguments, verb="replay") as process:
        while not new.exists() or not select(new, "SELECT name FROM sqlite_master"):
            time.sleep(0.01)
        for _ in range(3):
            process.send(signal.SIGINT)
            time.sleep(0.01)
        code = process.wait()
        assert code == 128 + signal.SIGINT, process.said
        assert "interrupted by SIGINT: run the command again to continue" in process.said
        assert "Traceback" not in process.said
    assert run("replay", *arguments).returncode == 0
    assert numbers(new) == list(range(200_000))


def test_a_replay_takes_no_file_of_another_server_and_needs_one_that_answers(
    stream_server: NatsServer, path: Path, tmp_path: Path
) -> None:
    let_serve(stream_server, path)
    with nats_server("-js", "-sd", str(tmp_path / "other")) as other:
        let_serve(other, tmp_path / "other.db")
        refused = run("replay", "--nats-url", other.url, "--db-path", path)
        assert refused.returncode == 2
        assert f"{path} is from another stream ROSEY_DB: name a new file" in refused.stderr
    refused = run("replay", "--nats-url", other.url, "--db-path", path)
    assert refused.returncode == 2
    assert f"no NATS server responds at {other.url}" in refused.stderr


def test_a_file_with_a_history_of_its_own_is_not_mixed_with_that_of_a_stream(
    stream_server: NatsServer, path: Path, tmp_path: Path
) -> None:
    core = tmp_path / "core.db"
    with running("--nats-url", stream_server.url, "--db-path", core) as process:
        process.wait_for(SERVING)
        anyio.run(publish_all, stream_server.url, range(10))
        assert process.stop() == 0
    let_serve(stream_server, core)  # the stream is new and empty, so nothing can be there twice
    anyio.run(publish_all, stream_server.url, range(10, 20))
    let_serve(stream_server, core)
    assert numbers(core) == list(range(20))
    with running("--nats-url", stream_server.url, "--db-path", path, "--prefix", "x") as process:
        process.wait_for(SERVING)
        process.stop()
    let_serve(stream_server, path)  # empty as it is, it may take all of it
    assert numbers(path) == list(range(10, 20))
    late = tmp_path / "late.db"
    with running("--nats-url", stream_server.url, "--db-path", late) as process:
        process.wait_for(SERVING)
        anyio.run(publish_all, stream_server.url, range(20, 30))
        assert process.stop() == 0
    refused = run("run", "--nats-url", stream_server.url, "--db-path", late, "--durable")
    assert refused.returncode == 2
    assert "the database has events that are not from the stream ROSEY_DB" in refused.stderr
    assert numbers(late) == list(range(20, 30))


def test_a_name_that_no_file_can_have_is_a_reason_not_to_start(tmp_path: Path) -> None:
    refused = run("run", "--db-path", tmp_path / ("a" * 300), "--local-port", free_port())
    assert refused.returncode == 2
    assert refused.stderr.endswith(": File name too long\n")
    assert len(refused.stderr.splitlines()) == 1


def test_a_path_that_cannot_be_makes_no_folder(tmp_path: Path) -> None:
    gone = tmp_path / "gone" / "bot_data.db"
    refused = run("run", "--durable", "--db-path", gone, "--local-port", free_port())
    assert refused.returncode == 2
    assert f"there is no directory {gone.parent}" in refused.stderr
    assert not gone.parent.exists()


def test_the_document_s_way_to_an_acknowledgement_works_as_it_stands(
    stream_server: NatsServer, path: Path
) -> None:
    programs = re.findall(r"^```python\n(.*?)^```", DURABILITY, re.DOTALL | re.MULTILINE)
    (program,) = (each for each in programs if "Nats-Msg-Id" in each)
    program = program.replace("nats://127.0.0.1:4222", stream_server.url)
    let_serve(stream_server, path)
    said = [
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert said[0].startswith("PubAck(stream='ROSEY_DB', seq=1, ")
    assert "duplicate=True" in said[1]
    let_serve(stream_server, path)
    assert select(path, "SELECT username FROM user_stats") == [("alice",)]


def test_the_document_names_only_flags_that_there_are() -> None:
    for command in re.findall(r"rosey-dbsvc (?:run|replay)[^\n`]*", DURABILITY):
        known = run(command.split()[1], "--help").stdout
        assert all(flag in known for flag in re.findall(r"--[a-z-]+", command)), command
