"""Service discovery (ADR-32), checked against its published schemas."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from nats.aio.client import Client
from support.bots import Bot
from support.servers import nats_server
from support.services import ServiceOf

from rosey_dbsvc import BotDatabase, DatabaseService
from rosey_dbsvc.operations import OPERATIONS

# Required fields of the schemas io.nats.micro.v1, with their types.
Schema = dict[str, type]

COMMON: Schema = {"type": str, "name": str, "id": str, "version": str, "metadata": dict}
REQUIRED: dict[str, Schema] = {
    "PING": COMMON,
    "INFO": {**COMMON, "description": str, "endpoints": list},
    "STATS": {**COMMON, "started": str, "endpoints": list},
}
ENDPOINT: dict[str, Schema] = {
    "PING": {},
    "INFO": {"name": str, "subject": str, "queue_group": str, "metadata": dict},
    "STATS": {
        "name": str,
        "subject": str,
        "queue_group": str,
        "num_requests": int,
        "num_errors": int,
        "last_error": str,
        "processing_time": int,
        "average_processing_time": int,
        "data": dict,
    },
}
NAME = re.compile(r"[a-zA-Z0-9_-]+")
SEMVER = re.compile(r"\d+\.\d+\.\d+")


def fits(answer: dict[str, Any], required: Schema) -> bool:
    return all(type(answer.get(name)) is kind for name, kind in required.items())


async def replies(nc: Client, subject: str, count: int = 1) -> list[dict[str, Any]]:
    inbox = nc.new_inbox()
    subscription = await nc.subscribe(inbox)
    await nc.publish(subject, reply=inbox)
    found = [json.loads((await subscription.next_msg(timeout=5)).data) for _ in range(count)]
    await subscription.unsubscribe()
    return found


@pytest.mark.parametrize("verb", REQUIRED)
async def test_replies_in_all_three_forms_match_the_schemas(
    nc: Client, path: Path, service_of: ServiceOf, verb: str
) -> None:
    async with service_of(path):
        (one,) = await replies(nc, f"$SRV.{verb}.rosey-dbsvc")
        for subject in (f"$SRV.{verb}", f"$SRV.{verb}.rosey-dbsvc.{one['id']}"):
            assert (await replies(nc, subject))[0] == one
    assert one["type"] == f"io.nats.micro.v1.{verb.lower()}_response"
    assert fits(one, REQUIRED[verb])
    assert one["name"] == "rosey-dbsvc"
    assert SEMVER.fullmatch(one["version"])
    assert all(type(value) is str for value in one["metadata"].values())
    for endpoint in one.get("endpoints", []):
        assert fits(endpoint, ENDPOINT[verb])
        assert NAME.fullmatch(endpoint["name"])
    if verb == "STATS":
        assert datetime.fromisoformat(one["started"]).tzinfo is not None


async def test_the_metadata_has_the_name_of_the_file_and_not_its_path(
    nc: Client, path: Path, prefix: str, service_of: ServiceOf
) -> None:
    async with service_of(path):
        (info,) = await replies(nc, "$SRV.INFO.rosey-dbsvc")
    assert info["metadata"] == {"prefix": prefix, "mode": "core", "database": path.name}
    assert str(path.parent) not in json.dumps(info)
    assert [each["subject"] for each in info["endpoints"]] == [
        f"{prefix}.{operation.name}" for operation in OPERATIONS
    ]


async def test_statistics_are_counted_by_operation(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    class Poisoned(BotDatabase):
        def user_joined(self, username: str) -> None:
            if username == "poison":
                raise RuntimeError("not that one")
            super().user_joined(username)

    async with service_of(path, database=Poisoned):
        for name in ("alice", "", "poison", "bob"):
            await bot.publish("user.joined", username=name)
        await bot.request("stats.recent_chat.get", b'{"limit": 0}')
        assert await bot.query("stats.recent_chat.get") == []
        (stats,) = await replies(bot.nc, "$SRV.STATS.rosey-dbsvc")
    found = {each["name"]: each for each in stats["endpoints"]}
    joined, chat = found["user_joined"], found["stats_recent_chat_get"]
    assert (joined["num_requests"], joined["num_errors"]) == (4, 2)
    assert joined["last_error"] == "RuntimeError: not that one"
    assert (chat["num_requests"], chat["num_errors"]) == (2, 1)
    assert "limit" in chat["last_error"]
    assert 0 < chat["average_processing_time"] < chat["processing_time"]
    assert found["user_left"]["num_requests"] == 0
    data = joined["data"]
    assert (data["applied"], data["rejected"], data["pending"]) == (2, 2, 0)
    assert data["batches"] >= 1
    assert data["last_commit"] > 1_700_000_000


async def test_each_of_several_services_replies_with_its_own_id(
    nc: Client, tmp_path: Path, service_of: ServiceOf
) -> None:
    async with service_of(tmp_path / "a.db"), service_of(tmp_path / "b.db", prefix="other.db"):
        found = await replies(nc, "$SRV.PING.rosey-dbsvc", 2)
    assert len({each["id"] for each in found}) == 2


async def test_other_verbs_and_other_names_get_no_reply(
    nc: Client, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path):
        for subject in ("$SRV.PAUSE", "$SRV.PING.somebody-else"):
            inbox = await nc.subscribe("answers")
            await nc.publish(subject, reply="answers")
            (ping,) = await replies(nc, "$SRV.PING.rosey-dbsvc")
            assert ping["name"] == "rosey-dbsvc"
            while inbox.pending_msgs:  # without a subscriber, the server replies
                assert not (await inbox.next_msg()).data
            await inbox.unsubscribe()


async def test_a_service_that_may_not_subscribe_to_discovery_serves(
    tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tmp_path / "nats.conf"
    config.write_text(
        "authorization { default_permissions: {"
        ' publish: ">", subscribe: { allow: ">", deny: "$SRV.>" } },'
        ' users: [ { user: a, password: "a" } ] }'
    )
    with nats_server(config=config) as server:
        url = server.url.replace("://", "://a:a@")
        async with DatabaseService(url, path, prefix="x"):
            with anyio.fail_after(10):
                while not any("service discovery is off" in line for line in caplog.messages):
                    await anyio.sleep(0.01)
