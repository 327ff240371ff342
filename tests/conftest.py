"""Fixtures of all tests: one real nats-server, and a prefix per test."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import nats
import pytest
from hypothesis import settings
from nats.aio.client import Client
from support.processes import signals_of_children_restored
from support.servers import NatsServer, nats_server

from rosey_dbsvc import DatabaseService

settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


@pytest.fixture
def anyio_backend() -> str:
    """nats-py needs asyncio. Tests of code that also runs on trio override it."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _signals() -> Iterator[None]:
    with signals_of_children_restored():
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[NatsServer]:
    with nats_server() as server:
        yield server


@pytest.fixture
def prefix() -> str:
    """The test's own prefix, because all tests share a server."""
    return f"test{uuid4().hex}.db"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bot_data.db"


@pytest.fixture
async def nc(server: NatsServer) -> AsyncIterator[Client]:
    """The connection of a bot."""
    client = await nats.connect(server.url)
    yield client
    await client.close()


@pytest.fixture
def service_of(server: NatsServer, prefix: str) -> Callable[..., DatabaseService]:
    """Make services under the test's prefix, each with its own connection."""

    def make(database: object, /, **options: object) -> DatabaseService:
        return DatabaseService(server.url, database, **{"prefix": prefix, **options})  # type: ignore[arg-type]

    return make


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rosey_dbsvc")
