"""The command line. What is slow to import is imported by the command that needs it."""

import os
import signal
import sys
from typing import Annotated, Final

import typer

from rosey_dbsvc.errors import DbsvcError, InvalidSettings
from rosey_dbsvc.settings import (
    DEFAULT_DB_PATH,
    DEFAULT_LOCAL_PORT,
    DEFAULT_MAX_AGE,
    DEFAULT_PREFIX,
    DEFAULT_STOP_TIMEOUT,
    DEFAULT_STREAM,
    LOCAL_SERVER,
    Durable,
    LogFormat,
    LogLevel,
    Settings,
    check_url,
    parse_age,
    parse_size,
)

DURABLE: Final = "Durable mode"

app = typer.Typer(
    name="rosey-dbsvc",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line, and turn every error of ours into one line and an exit code."""
    open_standard_streams()
    try:
        app()
    except DbsvcError as error:
        fail(error)
    except KeyboardInterrupt:  # before there is a service to stop
        sys.exit(128 + signal.SIGINT)


def open_standard_streams() -> None:
    """Open those that are closed, or the next file would take their place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is its own
            setattr(sys, name, open(number, "w" if number else "r"))  # noqa: PTH123, SIM115


def fail(error: DbsvcError) -> None:
    """Say what is wrong, in the log's own form if there is one, and exit."""
    import logging

    if logging.getLogger().handlers:
        logging.getLogger("rosey_dbsvc").critical("%s", error)
    else:
        typer.echo(f"rosey-dbsvc: {error}", err=True)
    sys.exit(error.exit_code)


def version(wanted: bool) -> None:
    """Print the version, if it is asked for, and end."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"rosey-dbsvc {version('rosey-dbsvc')}")
        raise typer.Exit


@app.callback()
def rosey_dbsvc(
    _: Annotated[
        bool,
        typer.Option("--version", callback=version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Run the database of a chat bot as a service: events from NATS into SQLite, in order."""


NatsUrl = Annotated[
    list[str] | None,
    typer.Option(
        envvar="NATS_URL",
        help="A NATS server, waited for until it is there; several times for a cluster."
        " Without any: the server on this machine, or else one of our own.",
        show_default=False,
    ),
]
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
StreamName = Annotated[
    str,
    typer.Option(
        envvar="ROSEY_DBSVC_STREAM",
        rich_help_panel=DURABLE,
        help="The JetStream stream, made if need be.",
    ),
]
LocalPort = Annotated[
    int,
    typer.Option(
        envvar="ROSEY_DBSVC_LOCAL_PORT",
        min=1,
        max=65535,
        help="Without --nats-url: where a server is looked for, or else started.",
    ),
]


@app.command()
def run(  # noqa: PLR0913, PLR0917  a parameter a flag
    nats_url: NatsUrl = None,
    db_path: DbPath = DEFAULT_DB_PATH,
    prefix: Prefix = DEFAULT_PREFIX,
    database: Database = "",
    log_level: Level = "info",
    log_format: Format = "text",
    stop_timeout: Annotated[
        float,
        typer.Option(
            envvar="ROSEY_DBSVC_STOP_TIMEOUT",
            metavar="SECONDS",
            help="How long a stop may take to apply what was delivered.",
        ),
    ] = DEFAULT_STOP_TIMEOUT,
    local_port: LocalPort = DEFAULT_LOCAL_PORT,
    durable: Annotated[
        bool,
        typer.Option(
            "--durable",
            envvar="ROSEY_DBSVC_DURABLE",
            rich_help_panel=DURABLE,
            help="Read the events from a JetStream stream: none is lost while the service is down.",
        ),
    ] = False,
    stream: StreamName = DEFAULT_STREAM,
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
) -> None:
    """Serve until SIGINT or SIGTERM, which lets it finish; a second one does not.

    Exit codes: 0 stopped as asked, 1 failed while running, 2 could not start.
    """
    from rosey_dbsvc import logs
    from rosey_dbsvc.running import run

    logs.configure(log_level, log_format)
    wanted = Durable(
        stream=stream,
        replicas=stream_replicas,
        max_age=parse_age(stream_max_age),
        max_bytes=parse_size(stream_max_bytes),
        update=stream_update,
    )
    if not durable and wanted != Durable():
        raise InvalidSettings("the --stream flags are of no use without --durable: add it")
    settings = Settings(
        nats_urls=tuple(map(check_url, split_urls(nats_url or []))),
        db_path=db_path,
        prefix=prefix,
        database=database,
        stop_timeout=stop_timeout,
        local_port=local_port,
        durable=wanted if durable else None,
    )
    sys.exit(run(settings))


@app.command()
def replay(
    db_path: Annotated[str, typer.Option(help="The new SQLite file.")],
    nats_url: Annotated[
        list[str] | None,
        typer.Option(
            envvar="NATS_URL",
            help="The NATS server that has the stream. One that the service has started itself runs"
            " as long as the service.",
            show_default=LOCAL_SERVER,
        ),
    ] = None,
    prefix: Prefix = DEFAULT_PREFIX,
    database: Database = "",
    stream: Annotated[
        str, typer.Option(envvar="ROSEY_DBSVC_STREAM", help="The JetStream stream to replay.")
    ] = DEFAULT_STREAM,
) -> None:
    """Make a new file from what a stream has; the tables become those of any other such file.

    Broken off, it goes on where it was when it is called again. Exit codes: 0 all that the stream
    had is in the file, 1 failed, 2 could not start, 130 or 143 ended by a signal.
    """
    from rosey_dbsvc import logs, progress
    from rosey_dbsvc.replaying import replay

    logs.configure("warning", "text")
    settings = Settings(
        nats_urls=tuple(map(check_url, split_urls(nats_url or [LOCAL_SERVER]))),
        db_path=db_path,
        prefix=prefix,
        database=database,
    )
    with progress.bar(f"replaying {stream}") as report:
        done = replay(settings, Durable(stream=stream), report)
    typer.echo(f"{done.counts.applied} events of the stream {stream} applied to {db_path}")
    if done.ended_by is not None:
        typer.echo(f"{done.ended_by.name} came before the end: call it again to go on", err=True)
        sys.exit(128 + done.ended_by)


def split_urls(given: list[str]) -> list[str]:
    """Return single URLs: a value may have several, with commas between."""
    return [url for value in given for url in value.split(",") if url]


@app.command()
def operations(
    as_json: Annotated[
        bool, typer.Option("--json", help="As JSON, each payload with its JSON Schema.")
    ] = False,
) -> None:
    """Print what the service does: each operation and its payload."""
    from rosey_dbsvc import tables

    if as_json:
        typer.echo(tables.operations_json())
    else:
        tables.print_operations()
