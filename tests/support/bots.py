"""A bot that publishes events and requests queries."""

import json
from typing import Any

import anyio
from nats.aio.client import Client
from nats.aio.msg import Msg


class Bot:
    """Sends payloads of the contract over a connection."""

    def __init__(self, nc: Client, prefix: str) -> None:
        self.nc = nc
        self.prefix = prefix

    async def publish(self, name: str, **payload: Any) -> None:
        await self.nc.publish(f"{self.prefix}.{name}", json.dumps(payload).encode())
        await anyio.lowlevel.checkpoint()

    async def query(self, name: str, **payload: Any) -> Any:
        reply = await self.request(name, json.dumps(payload).encode())
        assert reply.headers is None, reply.headers
        return json.loads(reply.data)

    async def request(self, name: str, payload: bytes = b"{}", timeout: float = 10) -> Msg:
        return await self.nc.request(f"{self.prefix}.{name}", payload, timeout=timeout)

    async def flush(self) -> None:
        """Wait until the server has all that was published; one flush overtakes the buffer."""
        await self.nc.flush()
        await self.nc.flush()

    async def committed(self) -> None:
        """Wait until all that was published is in the database."""
        await self.query("stats.recent_chat.get", limit=1)
