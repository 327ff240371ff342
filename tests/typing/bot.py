"""Calls of a bot's author. Each `type: ignore` is a wrong call, and an unused one an error."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportPrivateUsage=false

import anyio
from nats.aio.client import Client

from rosey_dbsvc import (
    BotDatabase,
    Credentials,
    DatabaseClient,
    DatabaseService,
    DbsvcError,
    Durable,
    Settings,
)
from rosey_dbsvc.embed import serve


async def right(nc: Client) -> list[str]:
    """Make every call as it is meant."""
    service = DatabaseService(nc, "bot_data.db", durable=Durable(replicas=3), stop_timeout=5)
    db = DatabaseClient(nc, durable=True)
    async with service, DatabaseClient("nats://localhost", credentials=Credentials(token="t")):
        await db.user_joined("alice")
        await db.user_chat_message("alice", "hi")
        await db.user_left(username="alice")
        await db.log_user_count(3, 4)
        await db.update_high_water_mark(3)
        await db.update_current_status(bot_name="Rosey", bot_rank=2.5, bot_afk=False)
        for message in await db.get_unsent_outbound_messages(limit=5):
            await db.mark_outbound_sent(message["id"])
            error: str | None = message["last_error"]
            print(error, message["retry_count"] + 1)
    try:
        said = await db.recent_chat(limit=50)
    except DbsvcError as refused:
        return [str(refused.code + 1)]
    return [f"{line['username']}: {line['message']}" for line in said]


async def inside() -> None:
    """Run the service in the bot's own task group."""
    async with anyio.create_task_group() as tg:
        await tg.start(serve, Settings(db_path="bot_data.db"))


async def wrong(db: DatabaseClient, service: DatabaseService, nc: Client) -> None:
    """Make calls that a type checker has to reject."""
    db.user_joined("alice")  # type: ignore
    await db.user_joined(7)  # type: ignore
    await db.user_joined()  # type: ignore
    await db.user_chat_message("alice", b"hi")  # type: ignore
    await db.log_user_count(3)  # type: ignore
    await db.update_current_status(bot_nmae="Rosey")  # type: ignore
    await db.update_current_status(bot_name=3)  # type: ignore
    await db.mark_outbound_sent("1")  # type: ignore
    await db.get_recent_chat(limit="50")  # type: ignore
    (await db.get_recent_chat())[0]["mesage"]  # type: ignore
    number: int = (await db.get_recent_chat())[0]["message"]  # type: ignore
    print(number)
    await db.get_user_stats("alice")  # type: ignore
    DatabaseClient(7)  # type: ignore
    DatabaseClient(nc, durabel=True)  # type: ignore
    DatabaseService(nc, stop_timeout="10")  # type: ignore
    BotDatabase("bot_data.db").user_joined(7)  # type: ignore
    Durable(replicas="3")  # type: ignore
    Settings(db_pth="bot_data.db")  # type: ignore
    await serve("bot_data.db")  # type: ignore
    print(service.counts.aplied)  # type: ignore
