"""A nats-server with JetStream, and services in durable mode on it."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from support.servers import NatsServer, nats_server
from support.services import ServiceOf

from rosey_dbsvc import DatabaseService, Durable

FIELDS = Durable.__struct_fields__


@pytest.fixture(scope="session")
def stream_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server("-js", "-sd", str(tmp_path_factory.mktemp("jetstream"))) as server:
        yield server


@pytest.fixture
async def nc(stream_server: NatsServer) -> AsyncIterator[Client]:
    client = await nats.connect(stream_server.url)
    yield client
    await client.close()


@pytest.fixture
def stream(prefix: str) -> str:
    """The name of the test's own stream."""
    return prefix.replace(".", "_")


@pytest.fixture
def service_of(stream_server: NatsServer, prefix: str, stream: str) -> ServiceOf:
    """Make services in durable mode. Fields of `Durable` are options, too."""

    def make(database: object, /, **options: Any) -> DatabaseService:
        durable = {name: options.pop(name) for name in list(options) if name in FIELDS}
        return DatabaseService(
            stream_server.url,
            database,
            durable=Durable(**{"stream": stream, **durable}),
            **{"prefix": prefix, **options},
        )

    return make
