"""Flags that several commands have, and groups of flags that make one object."""

from collections.abc import Callable
from functools import partial, wraps
from inspect import Signature, signature
from typing import Annotated, Any, Final, NamedTuple

import typer

from rosey_dbsvc.credentials import Credentials
from rosey_dbsvc.errors import InvalidSettings
from rosey_dbsvc.settings import (
    DEFAULT_LOCAL_PORT,
    DEFAULT_STREAM,
    Durable,
    LogFormat,
    LogLevel,
    check_local_port,
    check_url,
    parse_duration,
    parse_size,
)

Command = Callable[..., None]


def flag(
    metavar: str | None,
    help: str,  # noqa: A002  as typer names it
    envvar: str | None = None,
    panel: str | None = None,
    name: str | None = None,
) -> Any:  # noqa: ANN401  as typer has it
    """Return a flag, described in a panel of the help. `name` is needed if it takes no value."""
    names = [name] if name else []
    return typer.Option(*names, metavar=metavar, help=help, envvar=envvar, rich_help_panel=panel)


_logging = partial(flag, panel="Logging")
_connection = partial(flag, panel="Connection")
_durable = partial(flag, panel="Durable mode")

DbPath = Annotated[
    str, flag("FILE", "SQLite file, created if it is missing.", "ROSEY_DBSVC_DB_PATH")
]
ExistingDbPath = Annotated[str, flag("FILE", "SQLite file of the service.", "ROSEY_DBSVC_DB_PATH")]
Prefix = Annotated[str, flag("TEXT", "First tokens of all subjects.", "ROSEY_DBSVC_PREFIX")]
Database = Annotated[
    str,
    flag("MODULE:ATTRIBUTE", "Your own BotDatabase, called with the path.", "ROSEY_DBSVC_DATABASE"),
]
StreamName = Annotated[
    str, _durable("NAME", "JetStream stream, created if it is missing.", "ROSEY_DBSVC_STREAM")
]
Level = Annotated[LogLevel, _logging(None, "Minimum log level.", "ROSEY_DBSVC_LOG_LEVEL")]
Format = Annotated[
    LogFormat,
    _logging(None, "Format: text, or a JSON object per line.", "ROSEY_DBSVC_LOG_FORMAT"),
]
StopTimeout = Annotated[
    str,
    flag("DURATION", "Time limit for applying events at a stop.", "ROSEY_DBSVC_STOP_TIMEOUT"),
]
MaintainEvery = Annotated[
    str,
    flag("DURATION", "Interval of deleting old rows; 0 is never.", "ROSEY_DBSVC_MAINTAIN_EVERY"),
]
MetricsAddress = Annotated[
    str,
    flag(
        "HOST:PORT",
        "Address to serve Prometheus metrics on; needs the extra `metrics`.",
        "ROSEY_DBSVC_METRICS_ADDRESS",
        "Metrics",
    ),
]


class Connection(NamedTuple):
    """NATS servers, maybe none, with credentials."""

    urls: tuple[str, ...]
    credentials: Credentials
    local_port: int

    @property
    def client_urls(self) -> tuple[str, ...]:
        """The URLs, or that of the server on this machine."""
        return self.urls or (f"nats://localhost:{self.local_port}",)


SERVERS: Final = (
    "NATS server; repeat it for a cluster. Default: the server on this machine, which `run` starts"
    " if it is missing."
)
CA: Final = "CA certificates to trust, in place of the system's. Requires TLS, like a tls:// URL."


DURABLE: Final = "Read events from a JetStream stream: none is lost while the service is down."
UPDATE: Final = "Change an existing stream to these settings."
ACCEPT: Final = "Read another stream with this name from its beginning, into the same file."


def connection_flags(
    nats_url: Annotated[list[str] | None, _connection("URL", SERVERS, "NATS_URL")] = None,
    local_port: Annotated[
        int,
        _connection("PORT", "Port of the server on this machine.", "ROSEY_DBSVC_LOCAL_PORT"),
    ] = DEFAULT_LOCAL_PORT,
    nats_user: Annotated[str, _connection("TEXT", "User; needs a password.", "NATS_USER")] = "",
    nats_password: Annotated[
        str,
        _connection(
            "TEXT", "Password; safer in the environment: flags are public.", "NATS_PASSWORD"
        ),
    ] = "",
    nats_token: Annotated[
        str, _connection("TEXT", "Token, in place of user and password.", "NATS_TOKEN")
    ] = "",
    nats_creds: Annotated[
        str, _connection("FILE", "Credentials file of nsc: JWT and seed.", "NATS_CREDS")
    ] = "",
    nats_nkey: Annotated[str, _connection("FILE", "Seed of an NKey.", "NATS_NKEY")] = "",
    tls_ca: Annotated[str, _connection("FILE", CA, "NATS_CA")] = "",
    tls_cert: Annotated[str, _connection("FILE", "Client certificate.", "NATS_CERT")] = "",
    tls_key: Annotated[
        str, _connection("FILE", "Private key of the client certificate.", "NATS_KEY")
    ] = "",
) -> Connection:
    """Return the servers and credentials that the flags name."""
    urls = tuple(check_url(url) for value in nats_url or [] for url in value.split(",") if url)
    credentials = Credentials(
        user=nats_user,
        password=nats_password,
        token=nats_token,
        creds=nats_creds,
        nkey=nats_nkey,
        ca=tls_ca,
        cert=tls_cert,
        key=tls_key,
    )
    return Connection(urls, credentials, check_local_port(local_port))


def durable_flags(
    durable: Annotated[
        bool,
        _durable("", DURABLE, "ROSEY_DBSVC_DURABLE", name="--durable"),
    ] = False,
    stream: StreamName = DEFAULT_STREAM,
    stream_replicas: Annotated[
        int,
        _durable("NUMBER", "Servers of a cluster that store it.", "ROSEY_DBSVC_STREAM_REPLICAS"),
    ] = 1,
    stream_max_age: Annotated[
        str,
        _durable("DURATION", "Time to keep events; 0 is for ever.", "ROSEY_DBSVC_STREAM_MAX_AGE"),
    ] = "7d",
    stream_max_bytes: Annotated[
        str,
        _durable("SIZE", "Size limit, like 500M or 2G.", "ROSEY_DBSVC_STREAM_MAX_BYTES"),
    ] = "",
    stream_update: Annotated[
        bool,
        _durable("", UPDATE, "ROSEY_DBSVC_STREAM_UPDATE", name="--stream-update"),
    ] = False,
    accept_new_stream: Annotated[
        bool,
        _durable("", ACCEPT, "ROSEY_DBSVC_ACCEPT_NEW_STREAM", name="--accept-new-stream"),
    ] = False,
) -> Durable | None:
    """Return the settings of durable mode, None for core mode."""
    wanted = Durable(
        stream=stream,
        replicas=stream_replicas,
        max_age=parse_duration(stream_max_age, "max_age"),
        max_bytes=parse_size(stream_max_bytes, "max_bytes"),
        update=stream_update,
        accept_new=accept_new_stream,
    )
    if not durable and wanted != Durable():
        raise InvalidSettings("the --stream flags need --durable: add it")
    return wanted if durable else None


def with_flags(**groups: Callable[..., object]) -> Callable[[Command], Command]:
    """Add the flags of groups to a command, and pass the result of each group to it."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def called(**given: Any) -> None:  # noqa: ANN401
            made = {
                name: group(**{flag: given.pop(flag) for flag in signature(group).parameters})
                for name, group in groups.items()
            }
            command(**made, **given)

        own = [each for each in signature(command).parameters.values() if each.name not in groups]
        flags = [each for group in groups.values() for each in signature(group).parameters.values()]
        parameters = sorted([*own, *flags], key=lambda each: each.default is not each.empty)
        called.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {each.name: each.annotation for each in parameters}
        return called

    return decorate
