"""Fixtures for tests of whole processes."""

from collections.abc import Iterator

import pytest
from support.servers import NatsServer, nats_server


@pytest.fixture
def own_server() -> Iterator[NatsServer]:
    """A server that a test may stop, and where nobody else uses the usual prefix."""
    with nats_server() as server:
        yield server
