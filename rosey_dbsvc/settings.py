"""Settings of the service, checked before anything starts."""

import re
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct, ValidationError, convert
from msgspec.structs import fields, force_setattr

from rosey_dbsvc.credentials import NO_CREDENTIALS, Credentials
from rosey_dbsvc.errors import InvalidSettings

DEFAULT_DB_PATH: Final = "bot_data.db"
DEFAULT_PREFIX: Final = "rosey.db"
DEFAULT_STOP_TIMEOUT: Final = 10.0
DEFAULT_LOCAL_PORT: Final = 4222
DEFAULT_STREAM: Final = "ROSEY_DB"
DAY: Final = 86_400.0

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
Factory = Callable[[str], Any]  # opens a database from the path of its file

PREFIX: Final = re.compile(r"[\w-]+(\.[\w-]+)*")
STREAM: Final = re.compile(r"[\w-]{1,255}")
DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)")
SIZE: Final = re.compile(r"(\d{1,15})([KMGT]?)B?")
SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
BYTES: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
UNLIMITED: Final = -1
MAX_DURATION: Final = 36_500 * DAY
MAX_SIZE: Final = 2**63 - 1
MAX_PORT: Final = 65535
DUPLICATE_WINDOW: Final = 120.0
"""Time for which a stream recognizes a repeated event, in seconds. A client repeats it for 60."""
MAX_REPLICAS: Final = 5  # limit of JetStream


class Durable(Struct, frozen=True, kw_only=True):
    """Durable mode: events are read from a JetStream stream. Raises InvalidSettings."""

    stream: str = DEFAULT_STREAM
    """Name of the stream."""
    replicas: int = 1
    """Number of servers in a cluster that store the stream."""
    max_age: float = 7 * DAY
    """Time that the stream keeps an event, in seconds; 0 is for ever."""
    max_bytes: int = UNLIMITED
    """Size limit of the stream."""
    update: bool = False
    """Whether an existing stream is changed to these settings."""
    accept_new: bool = False
    """Whether another stream with this name is read from its beginning, into the same file."""

    def __post_init__(self) -> None:
        _check_types(self)
        if not STREAM.fullmatch(self.stream):
            raise InvalidSettings("`stream`: expected letters, digits, - and _, like ROSEY_DB")
        if not 1 <= self.replicas <= MAX_REPLICAS:
            raise InvalidSettings(f"`replicas`: expected 1 to {MAX_REPLICAS}")
        check_seconds(self.max_age, "max_age")
        if 0 < self.max_age < DUPLICATE_WINDOW:
            raise InvalidSettings(
                "`max_age`: expected 0, or at least 2m: so long are repeated events recognized"
            )
        if self.max_bytes != UNLIMITED and self.max_bytes < 1:
            raise InvalidSettings("`max_bytes`: expected 1 or more, or -1 for no limit")


class Address(NamedTuple):
    """Host and port to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of `rosey-dbsvc run` and `embed.serve`. Raises InvalidSettings."""

    nats_urls: tuple[str, ...] = ()
    """URLs like nats://host:4222. Empty: the server on this machine, or an embedded one."""
    local_port: int = DEFAULT_LOCAL_PORT
    """Port of the server on this machine, if `nats_urls` is empty."""
    credentials: Credentials = NO_CREDENTIALS
    """NATS credentials and TLS files."""
    prefix: str = DEFAULT_PREFIX
    """First tokens of all subjects."""
    db_path: str = DEFAULT_DB_PATH
    """SQLite file, created if missing."""
    database: str | Factory = ""
    """Your own BotDatabase: "MODULE:ATTRIBUTE" or a callable, called with the path."""
    stop_timeout: float = DEFAULT_STOP_TIMEOUT
    """Time limit for applying delivered messages at a stop, in seconds."""
    maintain_every: float = DAY
    """Interval of the retention, in seconds; 0 is never."""
    durable: Durable | None = None
    """Durable mode; None is core NATS, where events published while nobody listens are lost."""
    metrics: Address | None = None
    """Address to serve Prometheus metrics on; None is nowhere."""

    def __repr__(self) -> str:
        return f"Settings(db_path={self.db_path!r}, prefix={self.prefix!r})"  # URLs have passwords

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("db_path", self.db_path), ("prefix", self.prefix)]

    def __post_init__(self) -> None:
        _check_types(self)
        check_prefix(self.prefix)
        if not self.db_path:
            raise InvalidSettings("`db_path`: expected the path of a file")
        for url in self.nats_urls:
            check_url(url)
        check_local_port(self.local_port)
        if self.metrics is not None and not 0 <= self.metrics.port <= MAX_PORT:
            raise InvalidSettings(f"`metrics`: expected a port of 0 to {MAX_PORT}")
        check_seconds(self.stop_timeout, "stop_timeout")
        check_seconds(self.maintain_every, "maintain_every")


def _check_types(settings: Struct) -> None:
    """Convert each value to its declared type, such as a list to a tuple."""
    for each in fields(settings):
        value = getattr(settings, each.name)
        if each.name == "database" and callable(value):
            continue
        try:
            value = convert(value, str if each.name == "database" else each.type)
        except ValidationError as error:
            raise InvalidSettings(f"`{each.name}`: {error}") from None
        force_setattr(settings, each.name, value)


def check_seconds(seconds: float, field: str) -> float:
    """Return the duration. Raises InvalidSettings if it is negative, infinite or NaN."""
    if not 0 <= seconds < float("inf"):
        raise InvalidSettings(f"`{field}`: expected seconds, 0 or more")
    return seconds


def check_local_port(port: int) -> int:
    """Return the port. Raises InvalidSettings if it is out of range."""
    if not 1 <= port <= MAX_PORT:
        raise InvalidSettings(f"`local_port`: expected 1 to {MAX_PORT}")
    return port


def check_prefix(prefix: str) -> str:
    """Return the prefix. Raises InvalidSettings if it cannot begin a subject."""
    if not PREFIX.fullmatch(prefix):
        raise InvalidSettings(
            f"`prefix`: expected tokens joined by dots, like rosey.db, not {prefix!r}"
        )
    return prefix


def parse_address(text: str, field: str) -> Address | None:
    """Return the address in "HOST:PORT", None if the text is empty. Raises InvalidSettings."""
    if not text:
        return None
    try:
        parts = urlsplit(f"//{text}" if text.isascii() else "")
        host, port = parts.hostname, parts.port
    except ValueError:  # of the port
        host = port = None
    if not host or port is None or parts.netloc != text or parts.username is not None:
        raise InvalidSettings(f"`{field}`: expected HOST:PORT, like 127.0.0.1:9464")
    return Address(host, port)


def parse_duration(text: str, field: str) -> float:
    """Return the seconds of a duration like 10s, 24h or 7d. Raises InvalidSettings."""
    found = DURATION.fullmatch(text)
    if found is None:
        raise InvalidSettings(
            f"`{field}`: expected a duration like 10s, 30m, 24h or 7d, or seconds"
        )
    seconds = float(found[1]) * SECONDS[found[2]]
    if seconds > MAX_DURATION:
        raise InvalidSettings(f"`{field}`: expected at most 36500d")
    return seconds


def parse_size(text: str, field: str) -> int:
    """Return the bytes of a size like 500M or 2G, UNLIMITED if empty. Raises InvalidSettings."""
    if not text:
        return UNLIMITED
    found = SIZE.fullmatch(text.upper())
    if found is None or not int(found[1]):
        raise InvalidSettings(f"`{field}`: expected a size like 500M or 2G")
    size = int(found[1]) * BYTES[found[2]]
    if size > MAX_SIZE:
        raise InvalidSettings(f"`{field}`: expected less than 8388608T")
    return size


def format_duration(seconds: float) -> str:
    """Return a duration in the syntax of `parse_duration`."""
    for unit, length in reversed(SECONDS.items()):
        if unit and seconds and seconds % length == 0:
            return f"{int(seconds // length)}{unit}"
    return f"{seconds:g}"


def format_size(size: int) -> str:
    """Return a size in the syntax of `parse_size`."""
    for unit, length in reversed(BYTES.items()):
        if size % length == 0:
            return f"{size // length}{unit}"
    return str(size)


def check_url(url: str) -> str:
    """Return the URL in nats-py's form.

    Raises InvalidSettings, without showing the URL: it may contain a password.
    """
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        # An unescaped / ? or # in a password ends the host: what follows must not be shown.
        usable = bool(parts.hostname) and parts.port != 0
        usable = usable and parts.path in {"", "/"} and not (parts.query or parts.fragment)
    except ValueError:  # of the port
        usable = False
    if not usable:
        raise InvalidSettings(
            "`nats_urls`: expected URLs like nats://host:4222; in a password, write # / , "
            "as %23 %2F %2C"
        )
    if parts.scheme not in {"nats", "tls"}:
        raise InvalidSettings(
            f"`nats_urls`: expected nats:// or tls:// URLs, not {parts.scheme}://"
        )
    return parts.geturl()
