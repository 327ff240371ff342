"""Every test of the service runs under guard: SQL on the event loop fails it."""

from collections.abc import Iterator

import pytest
from blockbuster import blockbuster_ctx
from nats.aio.client import Client
from support.bots import Bot


@pytest.fixture(autouse=True)
def _guarded_loop() -> Iterator[None]:
    with blockbuster_ctx(["rosey_dbsvc", "sqlite3"]):
        yield


@pytest.fixture
def bot(nc: Client, prefix: str) -> Bot:
    return Bot(nc, prefix)
