"""The command line. What is slow to import is imported by the command that needs it."""

import json
import os
import signal
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import Annotated

import typer

from rosey_dbsvc.cli.options import (
    Database,
    DbPath,
    Format,
    Level,
    MaintainEvery,
    MetricsAddress,
    Prefix,
    Server,
    StopTimeout,
    server_flags,
    stream_flags,
    with_flags,
)
from rosey_dbsvc.errors import DbsvcError, InvalidSettings, NotServed
from rosey_dbsvc.settings import (
    DEFAULT_DB_PATH,
    DEFAULT_MAINTAIN_EVERY,
    DEFAULT_PREFIX,
    DEFAULT_STOP_TIMEOUT,
    DEFAULT_STREAM,
    Durable,
    Settings,
    parse_address,
    parse_age,
)

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
    except OSError as error:  # such as of standard output
        if error.errno is None:
            raise
        fail(DbsvcError(str(error)))
    except KeyboardInterrupt:  # before there is a service to stop
        sys.exit(128 + signal.SIGINT)


def open_standard_streams() -> None:
    """Open those that are closed, or the next file would take their place.

    What a terminal has no characters for, it shows as "?".
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is its own
            setattr(sys, name, open(number, "w" if number else "r"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


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


@app.command()
@with_flags(server=server_flags, durable=stream_flags)
def run(
    server: Server,
    durable: Durable | None,
    db_path: DbPath = DEFAULT_DB_PATH,
    prefix: Prefix = DEFAULT_PREFIX,
    database: Database = "",
    log_level: Level = "info",
    log_format: Format = "text",
    stop_timeout: StopTimeout = DEFAULT_STOP_TIMEOUT,
    maintain_every: MaintainEvery = DEFAULT_MAINTAIN_EVERY,
    metrics_address: MetricsAddress = "",
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, which lets it finish; a second one does not.

    Exit codes: 0 stopped as asked, 1 failed while running, 2 could not start.
    """
    from rosey_dbsvc.cli import logs
    from rosey_dbsvc.cli.process import run

    logs.configure(log_level, log_format)
    settings = Settings(
        nats_urls=server.urls,
        credentials=server.credentials,
        db_path=db_path,
        prefix=prefix,
        database=database,
        stop_timeout=stop_timeout,
        local_port=server.local_port,
        durable=durable,
        maintain_every=parse_age(maintain_every, "--maintain-every"),
        metrics=parse_address(metrics_address),
    )
    sys.exit(run(settings))


@app.command()
@with_flags(server=server_flags)
def replay(
    server: Server,
    db_path: Annotated[str, typer.Option(help="The new SQLite file.")],
    prefix: Prefix = DEFAULT_PREFIX,
    database: Database = "",
    stream: Annotated[
        str, typer.Option(envvar="ROSEY_DBSVC_STREAM", help="The JetStream stream to replay.")
    ] = DEFAULT_STREAM,
) -> None:
    """Make a new file from what a stream has; the tables become those of any other such file.

    The server has to be there: one that a service has started runs as long as the service. Broken
    off, it goes on where it was when it is called again. Exit codes: 0 all that the stream had is
    in the file, 1 failed, 2 could not start, 128 and its number ended by a signal.
    """
    from rosey_dbsvc.cli import logs, progress
    from rosey_dbsvc.service.replay import replay

    logs.configure("warning", "text")
    urls, credentials = server.door
    settings = Settings(
        nats_urls=urls,
        credentials=credentials,
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


@app.command()
def backup(
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="The file to make; an older backup is replaced.")
    ],
    db_path: DbPath = DEFAULT_DB_PATH,
) -> None:
    """Copy the database to DEST, whole and checked, also while a service writes it.

    DEST is as it was until the copy is complete. Exit codes: 0 done, 1 failed, 2 could not start,
    128 and its number ended by a signal.
    """
    from rosey_dbsvc.cli import progress
    from rosey_dbsvc.storage.admin.backup import back_up
    from rosey_dbsvc.storage.admin.interruptible import breakable

    with breakable(), progress.bar(f"backing up {db_path}") as report:
        size = back_up(db_path, destination, report)
    typer.echo(f"{db_path} is backed up to {destination}: {size:,} bytes, checked")


@app.command()
def maintain(
    db_path: DbPath = DEFAULT_DB_PATH,
    vacuum: Annotated[
        bool | None,
        typer.Option(
            "--vacuum/--no-vacuum",
            help="Also VACUUM and ANALYZE, which nobody can write during."
            " Without either: if no service runs.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Delete what is old from the database, and tidy up its file.

    A service does the first by itself: see `run --maintain-every`. Old are 30 days for the history
    of user counts, 7 for outbound messages that are sent, and 90 for revoked tokens. Exit codes: 0
    done, 1 failed, 2 could not start, 128 and its number ended by a signal.
    """
    from rosey_dbsvc.cli import progress
    from rosey_dbsvc.storage.admin.interruptible import breakable
    from rosey_dbsvc.storage.admin.maintain import maintain

    with breakable(), progress.bar(f"maintaining {db_path}") as report:
        done = maintain(db_path, report, vacuum=vacuum)
    typer.echo("\n".join(done))


@app.command()
@with_flags(server=server_flags)
def ping(
    server: Server,
    prefix: Prefix = DEFAULT_PREFIX,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="How long a service has to answer.")
    ] = 2.0,
) -> None:
    """See whether a service answers: 0 if one does, 1 if not, as for a container's health check."""
    from rosey_dbsvc.monitoring.finder import find
    from rosey_dbsvc.operations.codec import shorten

    try:
        found = find(*server.door, prefix, lambda finder: finder.ask("PING", timeout, 1))
    except DbsvcError as error:
        raise NotServed(str(error)) from None
    if not found:
        raise NotServed(f"no service answers under {prefix}")
    service = found[0]
    answer = f"{service['name']} {service['version']} serves {prefix}, its id is {service['id']}"
    typer.echo(shorten(answer))


@app.command()
@with_flags(server=server_flags)
def stats(
    server: Server,
    prefix: Prefix = DEFAULT_PREFIX,
    as_json: Annotated[
        bool, typer.Option("--json", help="As JSON, as the services answer $SRV.STATS.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it with rates until Ctrl-C, once a second.")
    ] = False,
) -> None:
    """Print what running services have done: 0 if there is one, 1 if not."""
    from rosey_dbsvc.cli import stats_view as statistics
    from rosey_dbsvc.monitoring.finder import find

    if watch:
        with suppress(KeyboardInterrupt):
            find(*server.door, prefix, statistics.watch)
        return
    found = find(*server.door, prefix, lambda finder: finder.ask("STATS"))
    if not found:
        raise NotServed(f"no service answers under {prefix}")
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        statistics.print_once(found)


@app.command()
@with_flags(server=server_flags)
def demo(
    server: Server,
    prefix: Prefix = DEFAULT_PREFIX,
    running: Annotated[
        bool | None,
        typer.Option(
            "--running/--own",
            help="Beside the service that runs, whose database keeps what is simulated, also in its"
            " history of counts; or beside one of the demo's own, deleted at the end: the default.",
            show_default=False,
        ),
    ] = None,
    db_path: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="With --running: the service's file, if it is on this machine. The panels then"
            " show it, and messages are queued in it, which your bot may say in its channel.",
            show_default=False,
        ),
    ] = "",
    rate: Annotated[
        float, typer.Option(min=1, max=60_000, metavar="LINES", help="Lines of chat a minute.")
    ] = 120,
    seconds: Annotated[
        float | None,
        typer.Option(min=1, help="How long; without it until Ctrl-C.", show_default=False),
    ] = None,
) -> None:
    """Show the service at work: a simulated channel, and what its database has of it.

    Who is here, what they say, how many there were, and a queue of messages that the bot says. Exit
    codes: 0 shown, 1 no service answers or it failed, 2 could not start.
    """
    from rosey_dbsvc.cli import logs
    from rosey_dbsvc.cli.demo import Demo, show

    if server.urls and running is None:
        raise InvalidSettings(
            "a NATS server is named: add --running to use the service there, whose database keeps"
            " what is simulated, or --own to leave it alone"
        )
    if db_path and not running:
        raise InvalidSettings("--db-path goes with --running: its own service has a file already")
    logs.configure("warning", "text")
    wanted = Demo(
        rate=rate,
        seconds=float("inf") if seconds is None else seconds,
        urls=server.door[0] if running else (),
        credentials=server.credentials,
        prefix=prefix,
        db_path=db_path,
    )
    typer.echo(show(wanted))


@app.command()
def operations(
    as_json: Annotated[
        bool, typer.Option("--json", help="As JSON, each payload with its JSON Schema.")
    ] = False,
) -> None:
    """Print what the service does: each operation and its payload."""
    from rosey_dbsvc.operations import describe as tables

    if as_json:
        typer.echo(tables.operations_json())
    else:
        tables.print_operations()
