"""`rosey-dbsvc run --metrics-address`, as a collector sees it."""

import re
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import anyio
import nats
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support.bots import Bot
from support.processes import SERVING, Running, run, running
from support.servers import NatsServer

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
AT = r"serving metrics at (\S+)"
WITHOUT_THE_CLIENT = """
import sys; sys.modules['prometheus_client'] = None
from rosey_dbsvc.cli.app import main; main()
"""


def scrape(url: str) -> dict[str, Metric]:
    with urlopen(Request(url, headers={"Accept": OPENMETRICS}), timeout=10) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text")
        text = response.read().decode()
    return {each.name: each for each in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]


def values(metric: Metric) -> dict[str, float]:
    return {
        sample.name + "".join(sample.labels.values()): sample.value for sample in metric.samples
    }


async def publish(url: str) -> None:
    bot = Bot(await nats.connect(url), "rosey.db")
    for _ in range(3):
        await bot.publish("user.joined", username="alice")
    await bot.publish("user.joined", username=7)
    await bot.committed()
    await bot.request("stats.recent_chat.get", b'{"limit": 0}')
    await bot.nc.close()


def served(process: Running) -> str:
    url = process.wait_for(AT)[1]
    process.wait_for(SERVING)
    return url


def test_what_was_done_is_collected(own_server: NatsServer, path: Path) -> None:
    arguments = ("--nats-url", own_server.url, "--metrics-address", "127.0.0.1:0")
    with running(*arguments, "--db-path", path) as process:
        url = served(process)
        anyio.run(publish, own_server.url)
        found = scrape(url)
        assert process.stop() == 0
    numbers = {name: values(metric) for name, metric in found.items()}
    assert numbers["rosey_dbsvc_events_applied"] == {"rosey_dbsvc_events_applied_total": 3}
    assert numbers["rosey_dbsvc_events_rejected"] == {"rosey_dbsvc_events_rejected_total": 1}
    assert numbers["rosey_dbsvc_queries_answered"] == {"rosey_dbsvc_queries_answered_total": 1}
    assert numbers["rosey_dbsvc_queries_refused"] == {"rosey_dbsvc_queries_refused_total": 1}
    assert numbers["rosey_dbsvc_connected"] == {"rosey_dbsvc_connected": 1}
    assert numbers["rosey_dbsvc_events_pending"] == {"rosey_dbsvc_events_pending": 0}
    assert numbers["rosey_dbsvc_requests"]["rosey_dbsvc_requests_totaluser.joined"] == 4
    assert numbers["rosey_dbsvc_errors"]["rosey_dbsvc_errors_totaluser.joined"] == 1
    assert numbers["rosey_dbsvc_batch_events"]["rosey_dbsvc_batch_events_sum"] == 3
    assert numbers["rosey_dbsvc_event_age_seconds"]["rosey_dbsvc_event_age_seconds_count"] == 3
    assert numbers["rosey_dbsvc_query_seconds"]["rosey_dbsvc_query_seconds_count"] == 2
    batches = numbers["rosey_dbsvc_batches"]["rosey_dbsvc_batches_total"]
    assert numbers["rosey_dbsvc_commit_seconds"]["rosey_dbsvc_commit_seconds_count"] == batches
    (labels,) = [sample.labels for sample in found["rosey_dbsvc"].samples]
    assert (labels["prefix"], labels["mode"]) == ("rosey.db", "core")


def test_they_are_there_while_the_server_is_not(own_server: NatsServer, path: Path) -> None:
    arguments = ("--nats-url", own_server.url, "--metrics-address", "localhost:0")
    with running(*arguments, "--db-path", path) as process:
        url = served(process)
        own_server.kill()
        process.wait_for("disconnected")
        assert values(scrape(url)["rosey_dbsvc_connected"]) == {"rosey_dbsvc_connected": 0}
        own_server.start()
        process.wait_for("reconnected to NATS")
        assert values(scrape(url)["rosey_dbsvc_connected"]) == {"rosey_dbsvc_connected": 1}
        assert process.stop() == 0


def test_they_are_there_before_the_server_is(own_server: NatsServer, path: Path) -> None:
    own_server.kill()
    arguments = ("--nats-url", own_server.url, "--metrics-address", "127.0.0.1:0")
    with running(*arguments, "--db-path", path) as process:
        url = process.wait_for(AT)[1]
        process.wait_for("waiting for NATS")
        assert values(scrape(url)["rosey_dbsvc_connected"]) == {"rosey_dbsvc_connected": 0}
        assert process.stop() == 0


def test_after_the_stop_nobody_listens(own_server: NatsServer, path: Path) -> None:
    arguments = ("--nats-url", own_server.url, "--metrics-address", "127.0.0.1:0")
    with running(*arguments, "--db-path", path) as process:
        url = served(process)
        assert process.stop() == 0
    with pytest.raises(OSError, match="refused"):
        scrape(url)


def test_unasked_there_are_none(own_server: NatsServer, path: Path) -> None:
    with running("--nats-url", own_server.url, "--db-path", path) as process:
        process.wait_for(SERVING)
        assert process.stop() == 0
    assert "metrics" not in process.said


def test_clients_that_send_nothing_or_reset_the_connection_cost_no_scrape_and_no_log_line(
    own_server: NatsServer, path: Path
) -> None:
    arguments = ("--nats-url", own_server.url, "--metrics-address", "127.0.0.1:0")
    with running(*arguments, "--db-path", path) as process, ExitStack() as crowd:
        url = served(process)
        address = ("127.0.0.1", urlsplit(url).port or 0)
        for _ in range(50):
            crowd.enter_context(socket.create_connection(address))
        for _ in range(10):
            rude = socket.create_connection(address)
            rude.send(b"GET /met")
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            rude.close()
        assert "rosey_dbsvc_connected" in scrape(url)
        crowd.close()
        assert "rosey_dbsvc_connected" in scrape(url)
        assert process.stop() == 0
    assert [line for line in process.lines if " INFO " not in line] == []


@contextmanager
def trickling(address: tuple[str, int]) -> Iterator[None]:
    """Send a request of many bytes, one every 0.2 s."""
    ended = Event()

    def trickle(client: socket.socket) -> None:
        with suppress(OSError):
            for byte in cycle(b"GET /metrics HTTP/1.1\r\nX: y\r\nZ: z"):
                client.send(bytes([byte]))
                if ended.wait(0.2):
                    break

    with socket.create_connection(address) as client:
        thread = Thread(target=trickle, args=[client])
        thread.start()
        yield
        ended.set()
        thread.join()


def test_a_client_that_sends_a_byte_now_and_then_blocks_neither_other_scrapes_nor_the_stop(
    own_server: NatsServer, path: Path
) -> None:
    arguments = ("--nats-url", own_server.url, "--metrics-address", "127.0.0.1:0")
    with running(*arguments, "--db-path", path) as process:
        url = served(process)
        with trickling(("127.0.0.1", urlsplit(url).port or 0)):
            for _ in range(3):
                assert "rosey_dbsvc_connected" in scrape(url)
            assert process.stop() == 0
    assert "Traceback" not in process.said


def test_it_is_collected_over_ipv6(own_server: NatsServer, path: Path) -> None:
    arguments = ("--nats-url", own_server.url, "--metrics-address", "[::1]:0")
    with running(*arguments, "--db-path", path) as process:
        url = served(process)
        assert url.startswith("http://[::1]:")
        assert "rosey_dbsvc_connected" in scrape(url)
        assert process.stop() == 0


@pytest.mark.parametrize("host", [".", "x" * 64, "nowhere.invalid"])
def test_a_host_that_is_none_is_2_and_one_line(path: Path, host: str) -> None:
    refused = run("run", "--db-path", path, "--metrics-address", f"{host}:9464")
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert f"cannot serve metrics on {host}:9464: " in line


def test_an_address_that_is_taken_is_2_and_one_line(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = "{}:{}".format(*other.getsockname())
        refused = run("run", "--db-path", path, "--metrics-address", address)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert re.search(rf"cannot serve metrics on {address}: Address already in use", line)


@pytest.mark.parametrize(
    "address",
    ["9464", ":9464", "127.0.0.1", "127.0.0.1:", "h:70000", "a@b:1", "h:1/x", "h:x", "ü:1"],
)
def test_an_address_that_is_none_is_2_and_one_line(path: Path, address: str) -> None:
    refused = run("run", "--db-path", path, "--metrics-address", address)
    assert refused.returncode == 2
    assert "--metrics-address: expected HOST:PORT, like 127.0.0.1:9464" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_without_prometheus_s_client_it_says_how_to_get_it(path: Path) -> None:
    command = (sys.executable, "-c", WITHOUT_THE_CLIENT)
    with running("--db-path", path, "--metrics-address", "[::1]:0", command=command) as process:
        assert process.wait() == 2
    (line,) = process.said.splitlines()
    assert line.endswith("pip install prometheus-client")
