"""A service written like the specification's listing: callbacks that call the database."""

import json
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg


class SpecListing:
    """The part of the listing for chat messages, with one subscription per subject."""

    def __init__(self, nc: Client, database: Any, prefix: str) -> None:
        self.applied = 0
        self._nc = nc
        self._database = database
        self._prefix = prefix

    async def start(self) -> None:
        await self._nc.subscribe(f"{self._prefix}.message.log", cb=self._handle_message_log)
        await self._nc.subscribe(f"{self._prefix}.stats.recent_chat.get", cb=self._handle_recent)
        await self._nc.flush()
        await self._nc.flush()

    async def _handle_message_log(self, msg: Msg) -> None:
        data = json.loads(msg.data.decode())
        self._database.user_chat_message(data["username"], data["message"])
        self.applied += 1

    async def _handle_recent(self, msg: Msg) -> None:
        data = json.loads(msg.data.decode())
        rows = self._database.get_recent_chat(limit=data.get("limit", 50))
        await self._nc.publish(msg.reply, json.dumps(rows).encode())
