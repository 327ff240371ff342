"""What an operator may set, checked before anything starts."""

import re
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct, ValidationError, convert
from msgspec.structs import fields, force_setattr

from rosey_dbsvc.credentials import Credentials
from rosey_dbsvc.errors import InvalidSettings

DEFAULT_DB_PATH: Final = "bot_data.db"
DEFAULT_PREFIX: Final = "rosey.db"
DEFAULT_STOP_TIMEOUT: Final = 10.0
DEFAULT_MAINTAIN_EVERY: Final = "24h"
DAILY: Final = 86400.0
DEFAULT_LOCAL_PORT: Final = 4222
DEFAULT_STREAM: Final = "ROSEY_DB"
DEFAULT_MAX_AGE: Final = "7d"

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

PREFIX: Final = re.compile(r"[\w-]+(\.[\w-]+)*")
STREAM: Final = re.compile(r"[\w-]{1,255}")
AGE: Final = re.compile(r"(\d{1,9})([smhd])")
SIZE: Final = re.compile(r"(\d{1,15})([KMGT]?)B?")
SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
BYTES: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
UNLIMITED: Final = -1
LONGEST_AGE: Final = 36_500 * 86_400
LARGEST_SIZE: Final = 2**63 - 1

LAST_PORT: Final = 65535
MOST_REPLICAS: Final = 5
"""Of a stream, as JetStream has it."""


class Durable(Struct, frozen=True, kw_only=True):
    """That the events are read from a JetStream stream, and what stream that is to be.

    Raises InvalidSettings, naming the flag.
    """

    stream: str = DEFAULT_STREAM
    """Its name."""
    replicas: int = 1
    """How many servers of a cluster keep it."""
    max_age: int = 7 * 86400
    """How long it keeps an event, in seconds; 0 for ever."""
    max_bytes: int = UNLIMITED
    """How large it may become."""
    update: bool = False
    """Whether a stream that is there with other settings is changed to these."""
    cursor_file: str = ""
    """Where the cursor of a database is kept that has no SQLite connection in `conn`."""

    def __post_init__(self) -> None:
        _check_kinds(self)
        if not STREAM.fullmatch(self.stream):
            raise InvalidSettings("--stream takes letters, digits, - and _, like ROSEY_DB")
        if not 1 <= self.replicas <= MOST_REPLICAS:
            raise InvalidSettings(f"--stream-replicas takes 1 to {MOST_REPLICAS}")


class Address(NamedTuple):
    """Where something of ours listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Settings(Struct, frozen=True, kw_only=True):
    """How `rosey-dbsvc run` runs. Raises InvalidSettings, naming the flag."""

    nats_urls: tuple[str, ...] = ()
    """Such as nats://host:4222. Empty: the server on this machine, or one of our own."""
    local_port: int = DEFAULT_LOCAL_PORT
    """Without `nats_urls`: where a server is looked for on this machine, or else started."""
    db_path: str = DEFAULT_DB_PATH
    credentials: Credentials = Credentials()
    prefix: str = DEFAULT_PREFIX
    database: str = ""
    """MODULE:ATTRIBUTE, called with the path; empty: the BotDatabase of this package."""
    stop_timeout: float = DEFAULT_STOP_TIMEOUT
    """In seconds."""
    maintain_every: float = DAILY
    """In seconds; 0 is never."""
    durable: Durable | None = None
    """None: core NATS, which forgets what is published while nobody listens."""
    metrics: Address | None = None
    """Where metrics are collected. None: nowhere."""

    def __repr__(self) -> str:
        return f"Settings(db_path={self.db_path!r}, prefix={self.prefix!r})"  # a URL has secrets

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("db_path", self.db_path), ("prefix", self.prefix)]

    def __post_init__(self) -> None:
        _check_kinds(self)
        check_prefix(self.prefix)
        if not 1 <= self.local_port <= LAST_PORT:
            raise InvalidSettings(f"--local-port takes 1 to {LAST_PORT}")
        if self.metrics is not None and not 0 <= self.metrics.port <= LAST_PORT:
            raise InvalidSettings(f"--metrics-address takes a port of 0 to {LAST_PORT}")
        check_seconds(self.stop_timeout, "--stop-timeout")


def _check_kinds(settings: Struct) -> None:
    """Make each value what it is declared to be, a list a tuple. Raises InvalidSettings."""
    for each in fields(settings):
        try:
            value = convert(getattr(settings, each.name), each.type)
        except ValidationError as error:
            raise InvalidSettings(f"{each.name}: {error}") from None
        force_setattr(settings, each.name, value)


def check_seconds(seconds: float, name: str) -> float:
    """Return the seconds. Raises InvalidSettings if nothing can take so long."""
    if not 0 <= seconds < float("inf"):
        raise InvalidSettings(f"{name} takes seconds, 0 or more")
    return seconds


def check_prefix(prefix: str) -> str:
    """Return the prefix. Raises InvalidSettings if no subject can begin with it."""
    if not PREFIX.fullmatch(prefix):
        raise InvalidSettings(f"no subject can begin with the prefix {prefix!r}: try rosey.db")
    return prefix


def parse_address(text: str) -> Address | None:
    """Return the address, None of no text. Raises InvalidSettings."""
    if not text:
        return None
    try:
        parts = urlsplit(f"//{text}" if text.isascii() else "")
        host, port = parts.hostname, parts.port
    except ValueError:  # of the port
        host = port = None
    if not host or port is None or parts.netloc != text or parts.username is not None:
        raise InvalidSettings("--metrics-address takes HOST:PORT, like 127.0.0.1:9464")
    return Address(host, port)


def parse_age(text: str, flag: str) -> int:
    """Return the seconds of an age like 7d, 12h, 30m or 90s; 0 is none.

    Raises InvalidSettings, naming the flag.
    """
    if text == "0":
        return 0
    found = AGE.fullmatch(text)
    if found is None:
        raise InvalidSettings(f"{flag} takes a time like 7d, 12h, 30m or 90s, or 0")
    seconds = int(found[1]) * SECONDS[found[2]]
    if seconds > LONGEST_AGE:
        raise InvalidSettings(f"{flag} takes at most 36500d")
    return seconds


def parse_size(text: str) -> int:
    """Return the bytes of a size like 500M or 2G; none is no limit. Raises InvalidSettings."""
    if not text:
        return UNLIMITED
    found = SIZE.fullmatch(text.upper())
    if found is None or not int(found[1]):
        raise InvalidSettings("--stream-max-bytes takes a size like 500M or 2G")
    size = int(found[1]) * BYTES[found[2]]
    if size > LARGEST_SIZE:
        raise InvalidSettings("--stream-max-bytes takes less than 8388608T")
    return size


def show_age(seconds: float) -> str:
    """Return an age as `parse_age` takes it."""
    for unit, length in reversed(SECONDS.items()):
        if seconds and seconds % length == 0:
            return f"{int(seconds // length)}{unit}"
    return f"{seconds:g}"


def show_size(size: int) -> str:
    """Return a size as `parse_size` takes it."""
    for unit, length in reversed(BYTES.items()):
        if size % length == 0:
            return f"{size // length}{unit}"
    return str(size)


def check_url(url: str) -> str:
    """Return the URL as nats-py understands it.

    Raises InvalidSettings, without showing the URL: it may hold a password.
    """
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        # What follows a / or ? in a password would be shown, since it is none then.
        usable = bool(parts.hostname) and parts.port != 0
        usable = usable and parts.path in {"", "/"} and not (parts.query or parts.fragment)
    except ValueError:  # of the port
        usable = False
    if not usable:
        raise InvalidSettings(
            "the NATS URL is not one: try nats://host:4222, with # / , in a password as %23 %2F %2C"
        )
    if parts.scheme not in {"nats", "tls"}:
        raise InvalidSettings(
            f"a NATS URL begins with nats:// or tls://, and not with {parts.scheme}://"
        )
    return parts.geturl()
