"""What an operator may set, checked before anything starts."""

import re
from typing import Final, Literal
from urllib.parse import urlsplit

from msgspec import Struct

from rosey_dbsvc.errors import InvalidSettings

DEFAULT_DB_PATH: Final = "bot_data.db"
DEFAULT_PREFIX: Final = "rosey.db"
DEFAULT_STOP_TIMEOUT: Final = 10.0
DEFAULT_LOCAL_PORT: Final = 4222

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

PREFIX: Final = re.compile(r"[\w-]+(\.[\w-]+)*")


class Settings(Struct, frozen=True, kw_only=True):
    """How `rosey-dbsvc run` runs. Raises InvalidSettings, naming the flag."""

    nats_urls: tuple[str, ...] = ()
    """As `check_url` returns them. Empty: the server on this machine, or one of our own."""
    local_port: int = DEFAULT_LOCAL_PORT
    db_path: str = DEFAULT_DB_PATH
    prefix: str = DEFAULT_PREFIX
    database: str = ""
    """MODULE:ATTRIBUTE, called with the path; empty: the BotDatabase of this package."""
    stop_timeout: float = DEFAULT_STOP_TIMEOUT
    """In seconds."""

    def __post_init__(self) -> None:
        check_prefix(self.prefix)
        if not 0 <= self.stop_timeout < float("inf"):
            raise InvalidSettings("--stop-timeout takes seconds, 0 or more")


def check_prefix(prefix: str) -> str:
    """Return the prefix. Raises InvalidSettings if no subject can begin with it."""
    if not PREFIX.fullmatch(prefix):
        raise InvalidSettings(f"no subject can begin with the prefix {prefix!r}: try rosey.db")
    return prefix


def check_url(url: str) -> str:
    """Return the URL as nats-py understands it.

    Raises InvalidSettings, without showing the URL: it may hold a password.
    """
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:  # of the port
        usable = False
    if not usable:
        raise InvalidSettings(
            "the NATS URL is not one: try nats://host:4222, with # / , in a password as %23 %2F %2C"
        )
    if parts.scheme != "nats":
        raise InvalidSettings(f"a NATS URL begins with nats://, and not with {parts.scheme}://")
    return parts.geturl()
