"""Errors of a command line: one line each, with flags in place of the fields of the settings."""

import json
import os
import re
import sys
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

FLAGS: Final = {
    "nats_urls": "--nats-url",
    "local_port": "--local-port",
    "user": "--nats-user",
    "password": "--nats-password",
    "token": "--nats-token",
    "creds": "--nats-creds",
    "nkey": "--nats-nkey",
    "ca": "--tls-ca",
    "cert": "--tls-cert",
    "key": "--tls-key",
    "prefix": "--prefix",
    "db_path": "--db-path",
    "database": "--database",
    "stop_timeout": "--stop-timeout",
    "maintain_every": "--maintain-every",
    "metrics": "--metrics-address",
    "durable": "--durable",
    "stream": "--stream",
    "replicas": "--stream-replicas",
    "max_age": "--stream-max-age",
    "max_bytes": "--stream-max-bytes",
    "update": "--stream-update",
    "accept_new": "--accept-new-stream",
    "timeout": "--timeout",
    "duration": "--duration",
}
"""Flags by the field that they set."""
FIELD: Final = re.compile(r"`(\w+)`")

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Base class of typer's errors for a wrong command line."""
USAGE_EXIT_CODE: Final = 2


def with_flags_named(message: str) -> str:
    """Return the message with flags in place of fields in backticks."""
    return FIELD.sub(lambda found: FLAGS.get(found[1], found[0]), message)


def usage_message(error: Exception) -> str:
    """Return the message of a usage error on one line, beginning with the flag if there is one."""
    param, message = getattr(error, "param", None), str(getattr(error, "message", error))
    if param is not None and type(error) is typer.BadParameter:
        return f"{param.opts[-1]}: {message.removeprefix('Value error, ').rstrip('.')}"
    text = " ".join(getattr(error, "format_message", lambda: message)().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    if not (context and text):
        return text
    return f"{text}{'' if text.endswith('?') else ';'} see {context.command_path} --help"


def print_error(message: str) -> None:
    """Print an error that ends the process, as JSON if that was requested."""
    if wants_json():
        typer.echo(json.dumps({"level": "critical", "message": message}), err=True)
    else:
        typer.echo(f"rosey-dbsvc: {message}", err=True)


def wants_json() -> bool:
    """Return whether the command line or the environment asks for JSON."""
    arguments = sys.argv
    log_format = os.environ.get("ROSEY_DBSVC_LOG_FORMAT", "")
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if flag == "--log-format":
            log_format = value
        elif flag.startswith("--log-format="):
            log_format = flag.partition("=")[2]
    return log_format == "json" or "--json" in arguments


class Command(TyperCommand):
    """A command whose flags without a value show no type in the help."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401  of typer
        """Return the parameters."""
        return _without_types(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401  of typer
        """Return the parts of the usage line, required arguments without braces."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


class Group(TyperGroup):
    """A group of commands, with flags like those of a Command."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401  of typer
        """Return the parameters."""
        return _without_types(super().get_params(ctx))


def _without_types(params: list[Any]) -> list[Any]:
    for param in params:
        if isinstance(param, TyperOption) and param.is_flag:
            param.metavar = ""
    return params
