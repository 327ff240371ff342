"""Every test of the service runs under guard: SQL on the event loop fails it."""

from collections.abc import Iterator

import pytest
from blockbuster import blockbuster_ctx


@pytest.fixture(autouse=True)
def _guarded_loop() -> Iterator[None]:
    with blockbuster_ctx(["rosey_dbsvc", "sqlite3"]):
        yield
