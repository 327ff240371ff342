"""The command `demo`."""

from typing import Annotated

import typer

from rosey_dbsvc.cli.options import flag
from rosey_dbsvc.cli.usage import Command, wants_json
from rosey_dbsvc.errors import InvalidSettings
from rosey_dbsvc.settings import parse_duration

MAX_RATE = 60_000


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(cls=Command, epilog="Example: rosey-dbsvc demo --rate 600 --duration 30s")(demo)


def demo(
    rate: Annotated[int, flag("NUMBER", "Chat messages per minute, 1 to 60000.")] = 120,
    duration: Annotated[str, flag("DURATION", "Time limit. Default: until Ctrl-C.")] = "",
) -> None:
    """Show the service at work, with a simulated channel.

    The demo runs a NATS server, a service and a database of its own, which are deleted at the end.
    It shows the users, the chat, the history of user counts, and the outbound messages. Exit codes:
    0 shown, 1 failed, 2 could not start.
    """
    if not 1 <= rate <= MAX_RATE:
        raise InvalidSettings(f"--rate: expected 1 to {MAX_RATE}")
    seconds = parse_duration(duration, "duration") if duration else float("inf")
    from rosey_dbsvc.cli import logs
    from rosey_dbsvc.cli.demo.show import show

    logs.configure("warning", "json" if wants_json() else "text")
    typer.echo(show(rate, seconds))
