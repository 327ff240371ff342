"""A small chat bot on trio, with the service inside: there is nothing else to start.

    pip install '.[embedded]' trio
    python examples/bot_trio.py bot_data.db

Its channel is simulated: some people come, talk and go. Meanwhile the bot says what others have put
into the outbound queue of the database, and marks it as sent. Without a second argument, the URL of
a NATS server, the one on this machine is used, or one is started.
"""

import random
import sys

import anyio

from rosey_dbsvc import DatabaseClient, DbsvcError, Settings
from rosey_dbsvc.embed import serve

PEOPLE = ("alice", "bob", "carol")
LINES = ("hello", "nice video", "who is the bot?", "brb", "good night")


async def visit(db: DatabaseClient, name: str) -> None:
    """Come, say something and go."""
    await db.user_joined(name)
    for line in random.sample(LINES, 3):
        await anyio.sleep(random.uniform(0, 0.2))
        await db.user_chat_message(name, line)
        print(f"<{name}> {line}")
    await db.user_left(name)


async def speak(db: DatabaseClient) -> None:
    """Say what is due, for as long as the bot lives."""
    while True:
        for message in await db.get_unsent_outbound_messages(limit=20):
            print(f"<bot> {message['message']}")
            await db.mark_outbound_sent(message["id"])
        await anyio.sleep(0.2)


async def main(path: str, urls: tuple[str, ...]) -> None:
    """Live through an evening; leaving the group stops the service, when all is applied."""
    async with anyio.create_task_group() as bot:
        db = await bot.start(serve, Settings(db_path=path, nats_urls=urls))
        bot.start_soon(speak, db)
        async with anyio.create_task_group() as channel:
            for name in PEOPLE:
                channel.start_soon(visit, db, name)
        await db.log_user_count(0, 0)
        await anyio.sleep(0.5)
        print(f"{len(await db.recent_chat(limit=100))} lines are remembered")
        bot.cancel_scope.cancel()


if __name__ == "__main__":
    try:
        anyio.run(main, (sys.argv[1:] or ["bot_data.db"])[0], tuple(sys.argv[2:]), backend="trio")
    except* DbsvcError as group:
        sys.exit(f"bot: {group.exceptions[0]}")
