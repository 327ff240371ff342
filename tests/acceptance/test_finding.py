"""`rosey-dbsvc ping` and `rosey-dbsvc stats`."""

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import anyio
import nats
import pytest
from support.bots import Bot
from support.processes import COMMAND, ENVIRONMENT, SERVING, run, running
from support.servers import NatsServer, free_port
from support.terminal import on_a_terminal

NODE = shutil.which("node")


@pytest.fixture(scope="session")
def finder_in_javascript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NATS's own client for services, in another language."""
    npm = shutil.which("npm")
    if NODE is None or npm is None:
        pytest.skip("there is no node")
    folder = tmp_path_factory.mktemp("javascript")
    packages = ("@nats-io/transport-node", "@nats-io/services")
    subprocess.run([npm, "install", *packages], cwd=folder, check=True, capture_output=True)
    return Path(shutil.copy(Path(__file__).parents[1] / "support" / "find.mjs", folder))


@pytest.fixture
def served(own_server: NatsServer, path: Path) -> Iterator[str]:
    async def publish() -> None:
        bot = Bot(await nats.connect(own_server.url), "rosey.db")
        for _ in range(3):
            await bot.publish("user.joined", username="alice")
        await bot.committed()
        await bot.nc.close()

    with running("--nats-url", own_server.url, "--db-path", path) as process:
        process.wait_for(SERVING)
        anyio.run(publish)
        yield own_server.url
        assert process.stop() == 0


def test_a_ping_is_answered_by_a_service_that_serves(served: str) -> None:
    answered = run("ping", "--nats-url", served)
    assert (answered.returncode, answered.stderr) == (0, "")
    assert re.fullmatch(
        r"rosey-dbsvc \d+\.\d+\.\d+ serves rosey\.db, its id is \w+\n", answered.stdout
    )


@pytest.mark.parametrize("command", ["ping", "stats"])
def test_without_a_service_it_is_1_and_one_line(own_server: NatsServer, command: str) -> None:
    for prefix in ("rosey.db", "another"):
        refused = run(command, "--nats-url", own_server.url, "--prefix", prefix)
        assert refused.returncode == 1
        assert refused.stderr == f"rosey-dbsvc: no service replies for the prefix {prefix}\n"


def test_without_a_server_a_ping_is_1_and_one_line(own_server: NatsServer) -> None:
    own_server.kill()
    refused = run("ping", "--nats-url", own_server.url)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"rosey-dbsvc: no NATS server responds at {own_server.url}")
    assert len(refused.stderr.splitlines()) == 1


def test_the_port_of_this_machine_is_asked_for_in_the_environment(served: str) -> None:
    port = served.rpartition(":")[2]
    assert run("ping", env=ENVIRONMENT | {"ROSEY_DBSVC_LOCAL_PORT": port}).returncode == 0
    assert run("ping", "--local-port", port).returncode == 0
    assert run("ping", "--local-port", free_port()).returncode == 1


def test_a_service_of_another_prefix_is_another(served: str) -> None:
    assert run("ping", "--nats-url", served, "--prefix", "other").returncode == 1


def test_the_numbers_are_a_table(served: str) -> None:
    shown = run("stats", "--nats-url", served)
    assert shown.returncode == 0
    (line,) = [line for line in shown.stdout.splitlines() if "user_joined" in line]
    assert re.search(r"user_joined +│ +3 │", line)
    assert "3 applied, 0 rejected, 0 pending" in shown.stdout


def test_two_services_in_core_mode_are_remarked(served: str, tmp_path: Path) -> None:
    with running("--nats-url", served, "--db-path", tmp_path / "another.db") as another:
        another.wait_for(SERVING)
        shown = run("stats", "--nats-url", served)
        assert another.stop() == 0
    assert "2 services in core mode: each applies all events" in shown.stdout
    assert "in core mode" not in run("stats", "--nats-url", served).stdout


def test_the_numbers_as_json_are_those_of_the_protocol(served: str) -> None:
    shown = json.loads(run("stats", "--nats-url", served, "--json").stdout)
    (service,) = shown
    assert service["type"] == "io.nats.micro.v1.stats_response"
    found = {each["name"]: each["num_requests"] for each in service["endpoints"]}
    assert found["user_joined"] == 3


def test_the_numbers_are_watched_until_ctrl_c(served: str) -> None:
    with on_a_terminal("stats", "--nats-url", served, "--watch") as terminal:
        for _ in range(2):
            terminal.wait_for("user_joined")
        assert terminal.stop(signal.SIGINT) == 0
    assert "Traceback" not in terminal.said


def test_the_numbers_are_watched_in_a_pipe(served: str) -> None:
    with subprocess.Popen(
        [*COMMAND, "stats", "--nats-url", served, "--watch"],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdout is not None
        seen = 0
        while seen < 2:
            line = process.stdout.readline()
            assert line, "it has ended"
            seen += "user_joined" in line
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_nats_s_own_client_in_another_language_finds_it(
    served: str, finder_in_javascript: Path
) -> None:
    found = json.loads(
        subprocess.run(
            [str(NODE), finder_in_javascript, served],
            cwd=finder_in_javascript.parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
    )
    assert [len(found[verb]) for verb in ("ping", "info", "stats")] == [1, 1, 1]
    assert found["ping"][0]["id"] == found["stats"][0]["id"]
    assert len(found["info"][0]["endpoints"]) == 9
    numbers = {each["name"]: each["num_requests"] for each in found["stats"][0]["endpoints"]}
    assert numbers["user_joined"] == 3
