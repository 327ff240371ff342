"""The commands `ping`, `stats` and `operations`."""

import json
from contextlib import suppress
from typing import Annotated

import typer

from rosey_dbsvc.cli.options import Connection, Prefix, connection_flags, flag, with_flags
from rosey_dbsvc.cli.usage import Command
from rosey_dbsvc.errors import DbsvcError, InvalidSettings, NotServed
from rosey_dbsvc.settings import DEFAULT_PREFIX, check_prefix, parse_duration


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(cls=Command, epilog="Example: rosey-dbsvc ping --timeout 5s")(ping)
    app.command(cls=Command, epilog="Example: rosey-dbsvc stats --watch")(stats)
    app.command(cls=Command, epilog="Example: rosey-dbsvc operations --json")(operations)


@with_flags(connection=connection_flags)
def ping(
    connection: Connection,
    prefix: Prefix = DEFAULT_PREFIX,
    timeout: Annotated[str, flag("DURATION", "Time limit of the reply.")] = "2s",
) -> None:
    """Check that a service replies, for health checks.

    Exit codes: 0 it does, 1 it does not, 2 wrong usage.
    """
    check_prefix(prefix)
    seconds = parse_duration(timeout, "timeout")
    from rosey_dbsvc._text import shorten
    from rosey_dbsvc.monitoring.finder import find

    try:
        found = find(
            connection.client_urls,
            connection.credentials,
            prefix,
            lambda finder: finder.request("PING", seconds, 1),
        )
    except InvalidSettings:
        raise
    except DbsvcError as error:
        raise NotServed(str(error)) from None
    if not found:
        raise NotServed(f"no service replies for the prefix {prefix}")
    service = found[0]
    answer = f"{service['name']} {service['version']} serves {prefix}, its id is {service['id']}"
    typer.echo(shorten(answer))


@with_flags(connection=connection_flags)
def stats(
    connection: Connection,
    prefix: Prefix = DEFAULT_PREFIX,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON, as in the replies to $SRV.STATS.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Update every second, with rates, until Ctrl-C.")
    ] = False,
) -> None:
    """Show counters of the running services.

    Exit codes: 0 shown, 1 no service replies, 2 could not start.
    """
    check_prefix(prefix)
    from rosey_dbsvc.cli import stats_view
    from rosey_dbsvc.monitoring.finder import find

    urls, credentials = connection.client_urls, connection.credentials
    if watch:
        with suppress(KeyboardInterrupt):
            find(urls, credentials, prefix, stats_view.watch)
        return
    found = find(urls, credentials, prefix, lambda finder: finder.request("STATS"))
    if not found:
        raise NotServed(f"no service replies for the prefix {prefix}")
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        stats_view.print_once(found)


def operations(
    as_json: Annotated[
        bool,
        typer.Option("--json", help="JSON, with a JSON Schema of each payload and reply."),
    ] = False,
) -> None:
    """List the operations of the service, with their payloads."""
    from rosey_dbsvc.operations import describe

    if as_json:
        typer.echo(describe.operations_json())
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        typer.echo("\n".join("\t".join(row) for row in [describe.HEADINGS, *describe.rows()]))
        return
    table = Table(*describe.HEADINGS)
    for row in describe.rows():
        table.add_row(*row)
    console.print(table)
