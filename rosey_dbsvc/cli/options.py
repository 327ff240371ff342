"""The flags that several commands have, in groups that each make one thing."""

from collections.abc import Callable
from functools import wraps
from inspect import Signature, signature
from typing import Annotated, Any, Final, NamedTuple

import typer

from rosey_dbsvc.credentials import Credentials
from rosey_dbsvc.errors import InvalidSettings
from rosey_dbsvc.settings import (
    DEFAULT_LOCAL_PORT,
    DEFAULT_MAX_AGE,
    DEFAULT_STREAM,
    Durable,
    LogFormat,
    LogLevel,
    check_url,
    parse_age,
    parse_size,
)

CONNECTING: Final = "Connecting"
DURABLE: Final = "Durable mode"

Command = Callable[..., None]

DbPath = Annotated[
    str, typer.Option(envvar="ROSEY_DBSVC_DB_PATH", help="The SQLite file, made if need be.")
]
Prefix = Annotated[
    str, typer.Option(envvar="ROSEY_DBSVC_PREFIX", help="What all subjects begin with.")
]
Database = Annotated[
    str,
    typer.Option(
        envvar="ROSEY_DBSVC_DATABASE",
        metavar="MODULE:ATTRIBUTE",
        help="Your own BotDatabase, called with the path.",
    ),
]
Level = Annotated[
    LogLevel, typer.Option(envvar="ROSEY_DBSVC_LOG_LEVEL", help="The least that is logged.")
]
Format = Annotated[
    LogFormat, typer.Option(envvar="ROSEY_DBSVC_LOG_FORMAT", help="With json: an object a line.")
]
StopTimeout = Annotated[
    float,
    typer.Option(
        envvar="ROSEY_DBSVC_STOP_TIMEOUT",
        metavar="SECONDS",
        help="How long a stop may take to apply what was delivered.",
    ),
]
MaintainEvery = Annotated[
    str,
    typer.Option(
        envvar="ROSEY_DBSVC_MAINTAIN_EVERY",
        metavar="TIME",
        help="How often what is old goes, in small steps: 24h, 30m; 0 for never.",
    ),
]
MetricsAddress = Annotated[
    str,
    typer.Option(
        envvar="ROSEY_DBSVC_METRICS_ADDRESS",
        metavar="HOST:PORT",
        help="Where metrics are collected, for Prometheus and its like; needs the extra `metrics`.",
        show_default=False,
    ),
]


class Server(NamedTuple):
    """The NATS servers that were named, maybe none, and what opens them."""

    urls: tuple[str, ...]
    credentials: Credentials
    local_port: int

    @property
    def door(self) -> tuple[tuple[str, ...], Credentials]:
        """The servers that were named, or else the one on this machine, and what opens it."""
        return self.urls or (f"nats://localhost:{self.local_port}",), self.credentials


def _connecting(help: str, envvar: str, metavar: str | None = None) -> Any:  # noqa: A002, ANN401
    return typer.Option(envvar=envvar, metavar=metavar, help=help, rich_help_panel=CONNECTING)


def server_flags(
    nats_url: Annotated[
        list[str] | None,
        typer.Option(
            envvar="NATS_URL",
            help="A NATS server; several times for a cluster. Without any it is the one on this"
            " machine, and `run` starts one if there is none.",
            show_default=False,
            rich_help_panel=CONNECTING,
        ),
    ] = None,
    local_port: Annotated[
        int,
        typer.Option(
            envvar="ROSEY_DBSVC_LOCAL_PORT",
            min=1,
            max=65535,
            help="Without --nats-url: the port on this machine.",
            rich_help_panel=CONNECTING,
        ),
    ] = DEFAULT_LOCAL_PORT,
    nats_user: Annotated[str, _connecting("With a password.", "NATS_USER")] = "",
    nats_password: Annotated[
        str, _connecting("Better in the environment: others see flags.", "NATS_PASSWORD")
    ] = "",
    nats_token: Annotated[str, _connecting("The same, without a user.", "NATS_TOKEN")] = "",
    nats_creds: Annotated[
        str, _connecting("A JWT and its seed, as nsc makes them.", "NATS_CREDS", "FILE")
    ] = "",
    nats_nkey: Annotated[str, _connecting("The seed of a key.", "NATS_NKEY", "FILE")] = "",
    tls_ca: Annotated[
        str,
        _connecting(
            "What the server's certificate is signed by, if not by what the system trusts."
            " Insists on TLS, as a tls:// URL does.",
            "NATS_CA",
            "FILE",
        ),
    ] = "",
    tls_cert: Annotated[
        str, _connecting("For a server that asks for a certificate.", "NATS_CERT", "FILE")
    ] = "",
    tls_key: Annotated[str, _connecting("The key of that.", "NATS_KEY", "FILE")] = "",
) -> Server:
    """Return the servers that the flags name."""
    urls = tuple(check_url(url) for value in nats_url or [] for url in value.split(",") if url)
    return Server(
        urls,
        Credentials(
            user=nats_user,
            password=nats_password,
            token=nats_token,
            creds=nats_creds,
            nkey=nats_nkey,
            ca=tls_ca,
            cert=tls_cert,
            key=tls_key,
        ),
        local_port,
    )


def stream_flags(
    durable: Annotated[
        bool,
        typer.Option(
            "--durable",
            envvar="ROSEY_DBSVC_DURABLE",
            rich_help_panel=DURABLE,
            help="Read the events from a JetStream stream: none is lost while the service is down.",
        ),
    ] = False,
    stream: Annotated[
        str,
        typer.Option(
            envvar="ROSEY_DBSVC_STREAM",
            rich_help_panel=DURABLE,
            help="The JetStream stream, made if need be.",
        ),
    ] = DEFAULT_STREAM,
    stream_replicas: Annotated[
        int,
        typer.Option(
            envvar="ROSEY_DBSVC_STREAM_REPLICAS",
            rich_help_panel=DURABLE,
            help="How many servers of a cluster keep the stream.",
        ),
    ] = 1,
    stream_max_age: Annotated[
        str,
        typer.Option(
            envvar="ROSEY_DBSVC_STREAM_MAX_AGE",
            rich_help_panel=DURABLE,
            metavar="AGE",
            help="How long it keeps an event: 7d, 12h, 30m, 90s; 0 for ever.",
        ),
    ] = DEFAULT_MAX_AGE,
    stream_max_bytes: Annotated[
        str,
        typer.Option(
            envvar="ROSEY_DBSVC_STREAM_MAX_BYTES",
            rich_help_panel=DURABLE,
            metavar="SIZE",
            help="How large it may become: 500M, 2G. Without: as large as the server lets it.",
        ),
    ] = "",
    stream_update: Annotated[
        bool,
        typer.Option(
            "--stream-update",
            envvar="ROSEY_DBSVC_STREAM_UPDATE",
            rich_help_panel=DURABLE,
            help="Change a stream that is there with other settings.",
        ),
    ] = False,
) -> Durable | None:
    """Return the stream that the flags ask for, None for core mode."""
    wanted = Durable(
        stream=stream,
        replicas=stream_replicas,
        max_age=parse_age(stream_max_age, "--stream-max-age"),
        max_bytes=parse_size(stream_max_bytes),
        update=stream_update,
    )
    if not durable and wanted != Durable():
        raise InvalidSettings("the --stream flags are of no use without --durable: add it")
    return wanted if durable else None


def with_flags(**groups: Callable[..., object]) -> Callable[[Command], Command]:
    """Give a command the flags of groups, and what each group makes of its flags as an argument."""

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
