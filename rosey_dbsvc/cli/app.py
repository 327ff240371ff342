"""The command line. Commands import what is slow to import when they run."""

import os
import signal
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from rosey_dbsvc.cli import file_commands, info_commands, service_commands, usage
from rosey_dbsvc.cli.demo import command as demo_command
from rosey_dbsvc.errors import DbsvcError, InvalidSettings

app = typer.Typer(
    name="rosey-dbsvc",
    cls=usage.Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (service_commands, file_commands, info_commands, demo_command):
    commands.register(app)


def main() -> None:
    """Run the command line. Errors become one line and an exit code."""
    open_standard_streams()
    try:
        check_directory()
        sys.exit(app(standalone_mode=False))
    except DbsvcError as error:
        fail(error)
    except usage.UsageError as error:
        if message := usage.usage_message(error):
            usage.print_error(message)
        sys.exit(usage.USAGE_EXIT_CODE)
    except OSError as error:  # such as of standard output
        if error.errno is None:
            raise
        fail(DbsvcError(str(error)))
    except (KeyboardInterrupt, typer.Abort):  # before there is a service to stop
        sys.exit(128 + signal.SIGINT)


def check_directory() -> None:
    """Raise InvalidSettings if the current directory was deleted."""
    try:
        os.getcwd()  # noqa: PTH109  pathlib is slower to import
    except OSError:
        raise InvalidSettings(
            "the current directory does not exist any more: change to another one"
        ) from None


def open_standard_streams() -> None:
    """Open closed standard streams, or the next file opened would take their numbers.

    Characters that the terminal does not have become "?".
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            setattr(sys, name, open(number, "w" if number else "r"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def fail(error: DbsvcError) -> None:
    """Log an error, or print it if there is no log yet, and exit."""
    import logging

    message = usage.with_flags_named(str(error))
    if logging.getLogger().handlers and not isinstance(error, InvalidSettings):
        logging.getLogger("rosey_dbsvc").critical("%s", message)
    else:
        usage.print_error(message)
    sys.exit(error.exit_code)


def print_version(wanted: bool) -> None:
    """Print the version and exit, if wanted."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"rosey-dbsvc {version('rosey-dbsvc')}")
        raise typer.Exit


@app.callback()
def rosey_dbsvc(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Database of a chat bot as a service: events from NATS into SQLite, in order."""
