"""A bot that calls its database directly: `python before.py bot_data.db`."""

import asyncio
import sys

from rosey_dbsvc import BotDatabase


async def evening(db: BotDatabase) -> None:
    """Store what happens in the channel, and say the outbound messages."""
    db.user_joined("alice")
    db.user_chat_message("alice", "good evening")
    db.log_user_count(1, 3)
    db.update_high_water_mark(1, 3)
    for line in db.get_recent_chat(limit=10):
        print(line["username"], line["message"])
    for message in db.get_unsent_outbound_messages():
        print("to say:", message["message"])
        db.mark_outbound_sent(message["id"])
    db.user_left("alice")


async def main(path: str) -> None:
    """Open the database and run."""
    db = BotDatabase(path)
    await evening(db)


if __name__ == "__main__":
    asyncio.run(main((sys.argv[1:] or ["bot_data.db"])[0]))
