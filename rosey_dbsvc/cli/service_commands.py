"""The commands `run` and `replay`."""

import sys
from typing import Annotated

import typer

from rosey_dbsvc.cli import options
from rosey_dbsvc.cli.usage import Command, wants_json
from rosey_dbsvc.settings import (
    DEFAULT_DB_PATH,
    DEFAULT_PREFIX,
    DEFAULT_STREAM,
    Durable,
    Settings,
    parse_address,
    parse_duration,
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(cls=Command, epilog="Example: rosey-dbsvc run --nats-url nats://localhost:4222")(
        run
    )
    app.command(cls=Command, epilog="Example: rosey-dbsvc replay --db-path copy.db")(replay)


@options.with_flags(connection=options.connection_flags, durable=options.durable_flags)
def run(
    connection: options.Connection,
    durable: Durable | None,
    db_path: options.DbPath = DEFAULT_DB_PATH,
    prefix: options.Prefix = DEFAULT_PREFIX,
    database: options.Database = "",
    stop_timeout: options.StopTimeout = "10s",
    maintain_every: options.MaintainEvery = "24h",
    log_level: options.Level = "info",
    log_format: options.Format = "text",
    metrics_address: options.MetricsAddress = "",
) -> None:
    """Run the service. The first signal stops it gracefully, a second one at once.

    Exit codes: 0 stopped by a signal, 1 failed, 2 could not start.
    """
    settings = Settings(
        nats_urls=connection.urls,
        credentials=connection.credentials,
        local_port=connection.local_port,
        db_path=db_path,
        prefix=prefix,
        database=database,
        stop_timeout=parse_duration(stop_timeout, "stop_timeout"),
        maintain_every=parse_duration(maintain_every, "maintain_every"),
        durable=durable,
        metrics=parse_address(metrics_address, "metrics"),
    )
    from rosey_dbsvc.cli import logs, process
    from rosey_dbsvc.storage.lock import check_path

    check_path(db_path)
    logs.configure(log_level, log_format)
    sys.exit(process.run(settings))


@options.with_flags(connection=options.connection_flags)
def replay(
    connection: options.Connection,
    db_path: Annotated[str, options.flag("FILE", "New SQLite file.")],
    prefix: options.Prefix = DEFAULT_PREFIX,
    database: options.Database = "",
    stream: Annotated[
        str, options.flag("NAME", "JetStream stream to replay.", "ROSEY_DBSVC_STREAM")
    ] = DEFAULT_STREAM,
) -> None:
    """Create a database file from a stream.

    The NATS server must be running; an embedded one runs as long as its service. After an
    interruption, the same command continues. Exit codes: 0 complete, 1 failed, 2 could not start,
    128 and its number ended by a signal.
    """
    durable = Durable(stream=stream)
    settings = Settings(
        nats_urls=connection.client_urls,
        credentials=connection.credentials,
        db_path=db_path,
        prefix=prefix,
        database=database,
    )
    from rosey_dbsvc.cli import logs, process, progress

    logs.configure("warning", "json" if wants_json() else "text")
    with progress.bar(f"replaying {stream}") as report:
        applied, ended_by = process.replay(settings, durable, report)
    typer.echo(f"{applied} events of the stream {stream} applied to {db_path}")
    if ended_by is not None:
        typer.echo(f"interrupted by {ended_by.name}: run the command again to continue", err=True)
        sys.exit(128 + ended_by)
