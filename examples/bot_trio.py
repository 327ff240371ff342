"""A small chat bot on trio, with an embedded service: nothing else has to be started.

    pip install '.[embedded]' trio
    python examples/bot_trio.py bot_data.db

The channel is simulated: some users join, write messages and leave. Meanwhile the bot says the
outbound messages that other programs have queued in the database, and marks them as sent. The
second argument is the URL of a NATS server. Without it, the bot uses the server on this machine, or
starts one.
"""

import random
import sys

import anyio

from rosey_dbsvc import DatabaseClient, DbsvcError, Settings
from rosey_dbsvc.embed import serve

PEOPLE = ("alice", "bob", "carol")
LINES = ("hello", "nice video", "who is the bot?", "brb", "good night")


async def visit(db: DatabaseClient, name: str) -> None:
    """Join, write messages and leave."""
    await db.user_joined(name)
    for line in random.sample(LINES, 3):
        await anyio.sleep(random.uniform(0, 0.2))
        await db.user_chat_message(name, line)
        print(f"<{name}> {line}")
    await db.user_left(name)


async def speak(db: DatabaseClient) -> None:
    """Say outbound messages until cancelled."""
    while True:
        for message in await db.get_unsent_outbound_messages(limit=20):
            print(f"<bot> {message['message']}")
            await db.mark_outbound_sent(message["id"])
        await anyio.sleep(0.2)


async def main(path: str, urls: tuple[str, ...]) -> None:
    """Run until all users have left. Cancelling the group stops the service gracefully."""
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
