"""Durable mode: the stream is created, checked, and updated on request."""

import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from nats.aio.client import Client
from nats.js.api import RetentionPolicy, StreamConfig, SubjectTransform
from support.log import info
from support.servers import NatsServer
from support.services import ServiceOf

from rosey_dbsvc import DatabaseService, Durable, errors
from rosey_dbsvc.operations import EVENTS


async def test_the_stream_is_created_with_the_seven_events_and_without_the_queries(
    nc: Client, path: Path, prefix: str, stream: str, service_of: ServiceOf
) -> None:
    async with service_of(path, max_age=3600, max_bytes=10_000_000):
        config = (await info(nc, stream)).config
    assert sorted(config.subjects or []) == sorted(f"{prefix}.{event.name}" for event in EVENTS)
    assert len(config.subjects or []) == 7
    assert config.retention == RetentionPolicy.LIMITS
    assert (config.storage, config.discard, config.num_replicas) == ("file", "old", 1)
    assert (config.max_age, config.max_bytes) == (3600, 10_000_000)


async def test_a_stream_with_other_settings_is_refused_and_changed_only_with_update(
    nc: Client, path: Path, prefix: str, stream: str, service_of: ServiceOf
) -> None:
    await nc.jetstream().add_stream(
        StreamConfig(name=stream, subjects=[f"{prefix}.user.joined"], max_age=60)
    )
    with pytest.raises(errors.StreamDiffers) as refused:
        await service_of(path).serve()
    assert re.search(
        rf"the stream {stream} has other settings: "
        rf"subjects {prefix}.user.joined instead of \S.*, max age 1m instead of 7d, "
        "duplicate window 1m instead of 2m; ",
        str(refused.value),
    )
    assert (await info(nc, stream)).config.max_age == 60
    async with service_of(path, update=True):
        pass
    config = (await info(nc, stream)).config
    assert (config.max_age, len(config.subjects or [])) == (7 * 86400, 7)
    async with service_of(path):
        pass


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"storage": "memory"}, "storage memory instead of file"),
        ({"retention": "workqueue"}, "retention workqueue instead of limits"),
        ({"retention": "interest"}, "retention interest instead of limits"),
        ({"discard": "new"}, "discard new instead of old"),
        ({"max_bytes": 2**20}, "max bytes 1M instead of none"),
        ({"max_msgs": 2}, "max messages 2 instead of any"),
        ({"max_msgs_per_subject": 1}, "max messages per subject 1 instead of any"),
        ({"max_msg_size": 1024}, "max message size 1K instead of none"),
        ({"no_ack": True}, "no_ack True instead of False"),
        (
            {"subject_transform": SubjectTransform(src=">", dest="elsewhere.>")},
            "subject transform some instead of none",
        ),
    ],
)
async def test_each_setting_that_decides_what_the_stream_keeps_is_checked(
    nc: Client,
    path: Path,
    prefix: str,
    stream: str,
    service_of: ServiceOf,
    setting: Any,
    reason: str,
) -> None:
    subjects = [f"{prefix}.{event.name}" for event in EVENTS]
    wanted = StreamConfig(name=stream, subjects=subjects, max_age=7 * 86400)
    await nc.jetstream().add_stream(wanted.evolve(**setting))
    with pytest.raises(errors.StreamDiffers) as refused, anyio.fail_after(10):
        await service_of(path).serve()
    assert f"has other settings: {reason}; use those" in str(refused.value)


async def test_creating_and_updating_a_stream_are_logged(
    path: Path, stream: str, service_of: ServiceOf, caplog: pytest.LogCaptureFixture
) -> None:
    for max_age in (3600, 86400):
        async with service_of(path, max_age=max_age, update=True):
            pass
    assert [line for line in caplog.messages if line.startswith(("created", "updated"))] == [
        f"created the stream {stream}",
        f"updated the stream {stream}, which had max age 1h instead of 1d",
    ]


async def test_a_stream_of_another_prefix_is_refused_even_with_update(
    nc: Client, tmp_path: Path, prefix: str, stream: str, service_of: ServiceOf
) -> None:
    async with service_of(tmp_path / "one.db"):
        pass
    for update in (False, True):
        with pytest.raises(errors.StreamDiffers, match="choose another with `stream`"):
            await service_of(tmp_path / "other.db", prefix="other", update=update).serve()
    subjects = (await info(nc, stream)).config.subjects or []
    assert all(subject.startswith(prefix) for subject in subjects)


async def test_a_stream_that_cannot_be_created_is_an_error_of_one_line(
    nc: Client, path: Path, prefix: str, stream: str, service_of: ServiceOf
) -> None:
    with pytest.raises(errors.StreamRefused, match="replicas > 1 not supported in non-clustered"):
        await service_of(path, replicas=3).serve()
    await nc.jetstream().add_stream(name=f"{stream}_other", subjects=[f"{prefix}.user.*"])
    with pytest.raises(errors.StreamRefused, match="subjects overlap with an existing stream"):
        await service_of(path).serve()


async def test_a_server_without_jetstream_is_refused_with_a_hint(
    server: NatsServer, path: Path, prefix: str
) -> None:
    with pytest.raises(errors.NoJetStream, match="nats-server -js"):
        await DatabaseService(server.url, path, prefix=prefix, durable=Durable()).serve()
