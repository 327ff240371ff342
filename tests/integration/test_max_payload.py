"""Replies near the server's max_payload, of which headers are a part."""

from pathlib import Path

import nats
import pytest
from support.bots import Bot
from support.servers import nats_server

from rosey_dbsvc import DatabaseService
from rosey_dbsvc.pipeline import barriers

MAX_PAYLOAD = 2048


async def stale(_self: object, _ticket: int) -> dict[str, str]:
    return {"Rosey-Stale": "unknown"}


@pytest.mark.parametrize("with_headers", [False, True])
async def test_a_reply_is_sent_or_refused_and_the_connection_stays(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch, with_headers: bool
) -> None:
    if with_headers:
        monkeypatch.setattr(barriers.CommitBarrier, "_wait", stale)
    config = tmp_path / "nats.conf"
    config.write_text(f"max_payload: {MAX_PAYLOAD}\n")
    sent = refused = 0
    with nats_server(config=config) as server:
        nc = await nats.connect(server.url)
        bot = Bot(nc, "rosey.db")
        async with DatabaseService(nc, path):
            for size in range(MAX_PAYLOAD - 190, MAX_PAYLOAD - 40):
                await bot.publish("message.log", username="a", message="x" * size)
                reply = await bot.request("stats.recent_chat.get", b'{"limit": 1}')
                code = (reply.headers or {}).get("Nats-Service-Error-Code")
                sent += code is None
                refused += code == "413"
            assert nc.is_connected
        await nc.close()
    assert sent + refused == 150
    assert sent > 0
    assert refused > 0
