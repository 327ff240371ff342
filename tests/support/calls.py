"""Calls of a bot, from tests without an event loop."""

import anyio
import nats

from support.bots import Bot


def publish(url: str, count: int) -> None:
    """Publish so many lines of chat, and return when the server has them."""

    async def main() -> None:
        bot = Bot(await nats.connect(url), "rosey.db")
        for number in range(count):
            payload = b'{"username": "alice", "message": "%d"}' % number
            await bot.nc.publish("rosey.db.message.log", payload)
        await bot.flush()
        await bot.nc.close()

    anyio.run(main)


def ask(url: str) -> list[str]:
    async def main() -> list[str]:
        bot = Bot(await nats.connect(url), "rosey.db")
        rows = await bot.query("stats.recent_chat.get", limit=5)
        await bot.nc.close()
        return [row["message"] for row in rows]

    return anyio.run(main)
