"""What a bot does: publish and ask."""

import json
from typing import Any

import anyio
from nats.aio.client import Client
from nats.aio.msg import Msg


class Bot:
    """Speaks the contract over a connection."""

    def __init__(self, nc: Client, prefix: str) -> None:
        self.nc = nc
        self.prefix = prefix

    async def tell(self, name: str, **payload: Any) -> None:
        await self.nc.publish(f"{self.prefix}.{name}", json.dumps(payload).encode())
        await anyio.lowlevel.checkpoint()

    async def ask(self, name: str, **payload: Any) -> Any:
        reply = await self.request(name, json.dumps(payload).encode())
        assert reply.headers is None, reply.headers
        return json.loads(reply.data)

    async def request(self, name: str, payload: bytes = b"{}", timeout: float = 10) -> Msg:
        return await self.nc.request(f"{self.prefix}.{name}", payload, timeout=timeout)

    async def told(self) -> None:
        """Come back when the server has all that was told: one flush overtakes what is buffered."""
        await self.nc.flush()
        await self.nc.flush()

    async def settled(self) -> None:
        """Come back when all that was told is in the database."""
        await self.ask("stats.recent_chat.get", limit=1)
