"""Two services with a file each follow a replicated stream through the loss of any process."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import nats
import pytest
from support.asker import Asking, asking
from support.flood import flooding
from support.log import contents, info, numbers
from support.processes import SERVING, Running, running
from support.servers import Cluster, cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

REPLICATED = ("--durable", "--stream-replicas", 3)

LOADED = 3.0
"""Time for which the load goes on after each kill, in seconds."""


def service(servers: Cluster, path: Path) -> Running:
    return Running("--nats-url", servers.urls, "--db-path", path, *REPLICATED)


async def leader(urls: str) -> str:
    nc = await nats.connect(urls.split(","))
    found = (await info(nc, "ROSEY_DB")).cluster
    await nc.close()
    assert found is not None
    assert found.leader is not None
    return found.leader


def wait_for_answers(asker: Asking, count: int = 20) -> dict[str, float]:
    """Wait until so many more queries are answered, and return how it went until then."""
    reports = [asker.report()]
    while sum(report["answers"] for report in reports[1:]) < count:
        time.sleep(0.1)
        reports.append(asker.report())
    return {
        "gap": max(report["gap"] for report in reports),
        "stale": sum(report["stale"] for report in reports),
    }


def test_the_loss_of_the_leader_and_of_each_service_in_turn_costs_no_event_and_a_moment_of_answers(
    tmp_path: Path,
) -> None:
    paths = [tmp_path / "one.db", tmp_path / "other.db"]
    gaps: dict[str, dict[str, float]] = {}
    with cluster(tmp_path / "servers") as servers:
        services = [service(servers, path) for path in paths]
        for each in services:
            each.wait_for(SERVING)
        with (
            flooding(servers.urls, "rosey.db", acked=True) as flood,
            asking(servers.urls, "rosey.db") as asker,
        ):

            def after(what: str, kill: Callable[[], None]) -> None:
                wait_for_answers(asker)
                kill()
                time.sleep(LOADED)
                gaps[what] = wait_for_answers(asker)

            lost = servers.nodes[anyio.run(leader, servers.urls)]
            after("the leader", lost.kill)
            lost.start()
            for number, path in enumerate(paths):
                after(f"service {number}", services[number].kill)
                services[number] = service(servers, path)
                services[number].wait_for(SERVING)
            count = flood.end()
        for each in services:
            assert each.stop(signal.SIGTERM) == 0
        for path in paths:  # each sees the stream to its end
            last = service(servers, path)
            last.wait_for(SERVING)
            assert last.stop() == 0
    print(json.dumps(gaps), os.cpu_count(), "cores")
    assert numbers(paths[0]) == list(range(count))
    assert contents(paths[0]) == contents(paths[1])


def test_a_cluster_without_a_leader_is_waited_for_and_the_wait_can_be_stopped(
    tmp_path: Path,
) -> None:
    servers = Cluster(tmp_path / "servers")
    first, *others = servers.nodes.values()
    try:
        first.start()
        command = ("--nats-url", first.url, "--db-path", tmp_path / "one.db", *REPLICATED)
        with running(*command) as process:
            process.wait_for("waiting for JetStream, retrying: ")
            assert process.stop() == 0
            assert "Traceback" not in process.said
        with running(*command) as process:
            process.wait_for("waiting for JetStream, retrying: ")
            for other in others:
                other.start()
            process.wait_for("JetStream responds after")
            process.wait_for(SERVING)
            assert process.stop() == 0
    finally:
        for server in servers.nodes.values():
            server.kill()


def test_a_query_in_a_cluster_sees_what_was_published_on_its_server_or_acknowledged(
    tmp_path: Path,
) -> None:
    with cluster(tmp_path / "servers") as servers:
        home, *_ = servers.nodes.values()
        arguments = ("--nats-url", home.url, "--db-path", tmp_path / "one.db", *REPLICATED)
        with running(*arguments) as process:
            process.wait_for(SERVING)
            for name, node in servers.nodes.items():
                acked = anyio.run(overlooked, node.url, True)
                plain = anyio.run(overlooked, node.url, False)
                print(f"of 200 plain events published on server {name}: {plain} overlooked")
                assert acked == 0
                assert plain == 0 or node is not home
            assert process.stop() == 0


async def overlooked(url: str, acked: bool) -> int:
    """Publish and ask by turns; return how often the answer does not have the event."""
    nc = await nats.connect(url)
    count = 0
    for number in range(200):
        said = f"{url} {acked} {number}"
        payload = json.dumps({"username": "alice", "message": said}).encode()
        if acked:
            await nc.jetstream().publish("rosey.db.message.log", payload)
        else:
            await nc.publish("rosey.db.message.log", payload)
        reply = await nc.request("rosey.db.stats.recent_chat.get", b'{"limit": 1}', timeout=5)
        count += reply.headers is None and json.loads(reply.data)[-1]["message"] != said
    await nc.close()
    return count
