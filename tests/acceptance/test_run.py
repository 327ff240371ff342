"""`rosey-dbsvc run`: it serves until a signal, and stops within its time limit."""

import re
import signal
import time
from pathlib import Path

import pytest
from support.calls import ask, publish
from support.databases import locked, select
from support.processes import COMMAND, SERVING, run, running
from support.servers import NatsServer, free_port

from rosey_dbsvc.cli.signals import REPEAT_INTERVAL

STOPPED = r"stopped: (\d+) events applied, (\d+) rejected, (\d+) queries answered"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_serves_until_a_signal_and_says_so_in_one_line_each(
    own_server: NatsServer, path: Path, number: signal.Signals
) -> None:
    with running("--nats-url", own_server.url, "--db-path", path) as process:
        process.wait_for(f"serving rosey.db.> on {own_server.url} with the database {path}")
        publish(own_server.url, 3)
        assert ask(own_server.url) == ["0", "1", "2"]
        assert process.stop(number) == 0
        assert f"received {number.name}: stopping" in process.said
        (stopped,) = re.findall(STOPPED, process.said)
        assert stopped == ("3", "0", "1")
        assert "Traceback" not in process.said


def test_sigterm_in_a_flood_of_20000_delivered_events_loses_none(
    own_server: NatsServer, path: Path
) -> None:
    with running("--nats-url", own_server.url, "--db-path", path) as process:
        process.wait_for(SERVING)
        publish(own_server.url, 20_000)
        assert process.stop() == 0
        assert re.search(r"stopped: 20000 events applied", process.said)
    said = select(path, "SELECT CAST(message AS INTEGER) FROM recent_chat ORDER BY id")
    assert said == [(number,) for number in range(20_000)]


def test_a_second_sigterm_ends_at_once_and_says_what_was_lost(
    own_server: NatsServer, path: Path
) -> None:
    arguments = ("--nats-url", own_server.url, "--db-path", path, "--stop-timeout", 600)
    with running(*arguments) as process:
        process.wait_for(SERVING)
        with locked(path):
            publish(own_server.url, 100)
            process.wait_for("cannot commit, retrying: ")
            process.send(signal.SIGTERM)
            process.wait_for("received SIGTERM: stopping")
            time.sleep(REPEAT_INTERVAL)  # an earlier one would be the same signal
            assert process.stop() == 1
        assert "received SIGTERM again: stopping at once" in process.said
        assert "stopped too early: 100 delivered messages are lost" in process.said
        assert "Traceback" not in process.said


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_two_signals_at_once_lose_no_delivered_event(
    own_server: NatsServer, path: Path, number: signal.Signals
) -> None:
    with running("--nats-url", own_server.url, "--db-path", path) as process:
        process.wait_for(SERVING)
        with locked(path):
            publish(own_server.url, 1000)
            process.wait_for("cannot commit, retrying: ")
            process.send(number)
            process.wait_for("stopping")
            process.send(number)
        assert process.wait() == 0
    assert select(path, "SELECT count(*) FROM recent_chat") == [(1000,)]


def test_a_deadline_ends_a_stop_that_cannot_finish(own_server: NatsServer, path: Path) -> None:
    arguments = ("--nats-url", own_server.url, "--db-path", path, "--stop-timeout", 0.2)
    with running(*arguments) as process:
        process.wait_for(SERVING)
        with locked(path):
            publish(own_server.url, 100)
            process.wait_for("cannot commit, retrying: ")
            assert process.stop() == 1
        assert "stopped too early: 100 delivered messages are lost" in process.said


def test_a_server_that_was_named_is_waited_for_and_the_wait_can_be_stopped(
    own_server: NatsServer, path: Path
) -> None:
    own_server.kill()
    upper = own_server.url.replace("nats:", "NATS:")
    with running("--db-path", path, NATS_URL=upper) as process:
        process.wait_for(f"waiting for NATS at {own_server.url}, retrying: .*refused")
        own_server.start()
        process.wait_for(SERVING)
        assert "disconnected" not in process.said
        assert process.stop() == 0
    own_server.kill()
    with running("--db-path", path, NATS_URL=own_server.url) as process:
        process.wait_for("waiting for NATS")
        assert process.stop() == 0
        assert "Traceback" not in process.said


def test_a_server_that_is_gone_for_good_is_no_reason_not_to_stop(
    own_server: NatsServer, path: Path
) -> None:
    with running("--nats-url", own_server.url, "--db-path", path) as process:
        process.wait_for(SERVING)
        publish(own_server.url, 1000)
        assert ask(own_server.url)
        own_server.kill()
        process.wait_for("disconnected from NATS")
        assert process.stop() == 0
        assert "stopped: 1000 events applied" in process.said
        assert "Traceback" not in process.said


def test_several_urls_are_one_cluster(own_server: NatsServer, path: Path) -> None:
    gone = f"nats://127.0.0.1:{free_port()}"
    for given in (
        {"NATS_URL": f"{gone},{own_server.url}"},
        {"NATS_URL": f"{gone} {own_server.url}"},
    ):
        with running("--db-path", path, **given) as process:
            process.wait_for(f"serving .* on {own_server.url}")
            assert process.stop() == 0
    with running("--nats-url", gone, "--nats-url", own_server.url, "--db-path", path) as process:
        process.wait_for(f"serving .* on {own_server.url}")
        assert process.stop() == 0


def test_every_flag_has_an_environment_variable(own_server: NatsServer, path: Path) -> None:
    environment = {
        "NATS_URL": own_server.url,
        "ROSEY_DBSVC_DB_PATH": str(path),
        "ROSEY_DBSVC_PREFIX": "other.bot",
        "ROSEY_DBSVC_DATABASE": "support.databases:OldBotDatabase",
        "ROSEY_DBSVC_LOG_LEVEL": "debug",
        "ROSEY_DBSVC_LOG_FORMAT": "json",
        "ROSEY_DBSVC_STOP_TIMEOUT": "5",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    with running(**environment) as process:
        process.wait_for(f"serving other.bot.> on {own_server.url} with the database {path}")
        assert process.stop() == 0
    assert select(path, "SELECT count(*) FROM log") == [(0,)]
    helped = run("run", "--help").stdout
    for variable in (set(environment) - {"PYTHONPATH"}) | {"ROSEY_DBSVC_LOCAL_PORT"}:
        assert variable in helped
    flags = set(re.findall(r"--[a-z-]+", helped)) - {"--help"}
    assert len(flags) == len(set(re.findall(r"(?:ROSEY_DBSVC|NATS)_[A-Z_]+", helped)))


def test_under_nohup_it_serves_on_when_the_terminal_is_closed(
    own_server: NatsServer, path: Path
) -> None:
    command = ("nohup", *COMMAND)
    arguments = ("--nats-url", own_server.url, "--db-path", path)
    with running(*arguments, command=command) as process:
        process.wait_for(SERVING)
        process.send(signal.SIGHUP)
        publish(own_server.url, 3)
        assert process.stop() == 0
        assert "SIGHUP" not in process.said
        assert "3 events applied" in process.said
