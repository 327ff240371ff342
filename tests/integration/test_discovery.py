"""The service as NATS's own tools find it: ADR-32, by its published schemas."""

import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from nats.aio.client import Client
from support.bots import Bot
from support.servers import nats_server

from rosey_dbsvc import BotDatabase, DatabaseService
from rosey_dbsvc.operations.base import OPERATIONS

ServiceOf = Callable[..., DatabaseService]

# What the schemas of io.nats.micro.v1 require, and of which type.
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


async def asked(nc: Client, subject: str, count: int = 1) -> list[dict[str, Any]]:
    inbox = nc.new_inbox()
    subscription = await nc.subscribe(inbox)
    await nc.publish(subject, reply=inbox)
    found = [json.loads((await subscription.next_msg(timeout=5)).data) for _ in range(count)]
    await subscription.unsubscribe()
    return found


@pytest.fixture
def bot(nc: Client, prefix: str) -> Bot:
    return Bot(nc, prefix)


@pytest.mark.parametrize("verb", REQUIRED)
async def test_it_answers_in_all_three_forms_as_the_schemas_require(
    nc: Client, path: Path, service_of: ServiceOf, verb: str
) -> None:
    async with service_of(path):
        (one,) = await asked(nc, f"$SRV.{verb}.rosey-dbsvc")
        for subject in (f"$SRV.{verb}", f"$SRV.{verb}.rosey-dbsvc.{one['id']}"):
            assert (await asked(nc, subject))[0] == one
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


async def test_what_it_says_of_itself_names_the_file_and_not_where_it_is(
    nc: Client, path: Path, prefix: str, service_of: ServiceOf
) -> None:
    async with service_of(path):
        (info,) = await asked(nc, "$SRV.INFO.rosey-dbsvc")
    assert info["metadata"] == {"prefix": prefix, "mode": "core", "database": path.name}
    assert str(path.parent) not in json.dumps(info)
    assert [each["subject"] for each in info["endpoints"]] == [
        f"{prefix}.{operation.name}" for operation in OPERATIONS
    ]


async def test_the_numbers_are_those_of_each_operation(
    bot: Bot, path: Path, service_of: ServiceOf
) -> None:
    class Poisoned(BotDatabase):
        def user_joined(self, username: str) -> None:
            if username == "poison":
                raise RuntimeError("not that one")
            super().user_joined(username)

    async with service_of(path, factory=Poisoned):
        for name in ("alice", "", "poison", "bob"):
            await bot.tell("user.joined", username=name)
        await bot.request("stats.recent_chat.get", b'{"limit": 0}')
        assert await bot.ask("stats.recent_chat.get") == []
        (stats,) = await asked(bot.nc, "$SRV.STATS.rosey-dbsvc")
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


async def test_each_of_several_services_answers_with_an_id_of_its_own(
    nc: Client, tmp_path: Path, service_of: ServiceOf
) -> None:
    async with service_of(tmp_path / "a.db"), service_of(tmp_path / "b.db", prefix="other.db"):
        found = await asked(nc, "$SRV.PING.rosey-dbsvc", 2)
    assert len({each["id"] for each in found}) == 2


async def test_other_verbs_and_other_names_are_left_alone(
    nc: Client, path: Path, service_of: ServiceOf
) -> None:
    async with service_of(path):
        for subject in ("$SRV.PAUSE", "$SRV.PING.somebody-else"):
            inbox = await nc.subscribe("answers")
            await nc.publish(subject, reply="answers")
            (ping,) = await asked(nc, "$SRV.PING.rosey-dbsvc")
            assert ping["name"] == "rosey-dbsvc"
            while inbox.pending_msgs:  # the server says it if nobody listens
                assert not (await inbox.next_msg()).data
            await inbox.unsubscribe()


async def test_a_server_that_does_not_let_it_be_found_lets_it_serve(
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
                while not any("not to be found" in line for line in caplog.messages):
                    await anyio.sleep(0.01)
