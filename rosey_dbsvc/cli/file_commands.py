"""The commands `backup` and `maintain`."""

from typing import Annotated

import typer

from rosey_dbsvc.cli.options import ExistingDbPath
from rosey_dbsvc.cli.usage import Command
from rosey_dbsvc.settings import DEFAULT_DB_PATH


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(cls=Command, epilog="Example: rosey-dbsvc backup backup.db")(backup)
    app.command(cls=Command, epilog="Example: rosey-dbsvc maintain --db-path bot_data.db")(maintain)


def backup(
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="File to write. An older backup is replaced.")
    ],
    db_path: ExistingDbPath = DEFAULT_DB_PATH,
) -> None:
    """Back up the database, also while a service uses it, and check the copy.

    DEST is replaced when the copy is complete. Exit codes: 0 done, 1 failed, 2 could not start, 128
    and its number ended by a signal.
    """
    from rosey_dbsvc.cli import progress
    from rosey_dbsvc.storage.admin.backup import back_up
    from rosey_dbsvc.storage.admin.interruptible import exit_on_signals

    with exit_on_signals(), progress.bar(f"backing up {db_path}") as report:
        size = back_up(db_path, destination, report)
    typer.echo(f"{db_path} is backed up to {destination}: {size:,} bytes, checked")


def maintain(
    db_path: ExistingDbPath = DEFAULT_DB_PATH,
    vacuum: Annotated[
        bool | None,
        typer.Option(
            "--vacuum/--no-vacuum",
            help="VACUUM and ANALYZE, which lock the file. Default: if no service runs.",
        ),
    ] = None,
) -> None:
    """Delete old rows from the database, and compact its file.

    A service deletes old rows by itself: see `run --maintain-every`. User counts are kept for 30
    days, sent outbound messages for 7, and revoked tokens for 90. Exit codes: 0 done, 1 failed, 2
    could not start, 128 and its number ended by a signal.
    """
    from rosey_dbsvc.cli import progress
    from rosey_dbsvc.storage.admin.interruptible import exit_on_signals
    from rosey_dbsvc.storage.admin.maintain import maintain

    with exit_on_signals(), progress.bar(f"maintaining {db_path}") as report:
        done = maintain(db_path, report, vacuum=vacuum)
    typer.echo("\n".join(done))
