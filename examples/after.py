"""The bot of before.py, with a running service: `python after.py nats://127.0.0.1:4222`."""

import asyncio
import sys

import nats

from rosey_dbsvc import DatabaseClient


async def evening(db: DatabaseClient) -> None:
    """Store what happens in the channel, and say the outbound messages."""
    await db.user_joined("alice")
    await db.user_chat_message("alice", "good evening")
    await db.log_user_count(1, 3)
    await db.update_high_water_mark(1, 3)
    for line in await db.get_recent_chat(limit=10):
        print(line["username"], line["message"])
    for message in await db.get_unsent_outbound_messages():
        print("to say:", message["message"])
        await db.mark_outbound_sent(message["id"])
    await db.user_left("alice")


async def main(url: str) -> None:
    """Connect and run."""
    nc = await nats.connect(url)
    db = DatabaseClient(nc)
    await evening(db)
    await nc.drain()


if __name__ == "__main__":
    asyncio.run(main((sys.argv[1:] or ["nats://127.0.0.1:4222"])[0]))
