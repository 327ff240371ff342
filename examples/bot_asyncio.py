"""A small chat bot on asyncio, with a service that is already running.

    rosey-dbsvc run &
    python examples/bot_asyncio.py nats://127.0.0.1:4222

The channel is simulated: some users join, write messages and leave. Meanwhile the bot says the
outbound messages that other programs have queued in the database, and marks them as sent.
"""

import asyncio
import random
import sys

from rosey_dbsvc import DatabaseClient, DbsvcError

PEOPLE = ("alice", "bob", "carol")
LINES = ("hello", "nice video", "who is the bot?", "brb", "good night")


async def visit(db: DatabaseClient, name: str) -> None:
    """Join, write messages and leave."""
    await db.user_joined(name)
    for line in random.sample(LINES, 3):
        await asyncio.sleep(random.uniform(0, 0.2))
        await db.user_chat_message(name, line)
        print(f"<{name}> {line}")
    await db.user_left(name)


async def speak(db: DatabaseClient) -> None:
    """Say outbound messages until cancelled."""
    while True:
        for message in await db.get_unsent_outbound_messages(limit=20):
            print(f"<bot> {message['message']}")
            await db.mark_outbound_sent(message["id"])
        await asyncio.sleep(0.2)


async def main(url: str) -> None:
    """Run until all users have left."""
    async with DatabaseClient(url) as db:
        speaking = asyncio.create_task(speak(db))
        await asyncio.gather(*(visit(db, name) for name in PEOPLE))
        await db.log_user_count(0, 0)
        await asyncio.sleep(0.5)
        speaking.cancel()
        print(f"{len(await db.recent_chat(limit=100))} lines are remembered")


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"))
    except DbsvcError as error:
        sys.exit(f"bot: {error}")
