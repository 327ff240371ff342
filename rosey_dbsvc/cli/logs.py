"""The log on standard error: for a terminal, as plain text, or as JSON."""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from rosey_dbsvc.settings import LogFormat, LogLevel


class PlainFormatter(logging.Formatter):
    """One line of text per record."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")


class JsonFormatter(logging.Formatter):
    """One JSON object per record, with the fields of the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if isinstance(record.args, Mapping):
            fields |= {name: value for name, value in record.args.items() if name not in fields}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)  # not msgspec: a path is not always UTF-8


def configure(level: LogLevel, log_format: LogFormat) -> None:
    """Send the log to standard error."""
    logging.basicConfig(level=logging.WARNING, handlers=[_handler(log_format)], force=True)
    logging.getLogger("rosey_dbsvc").setLevel(level.upper())
    logging.getLogger("nats").setLevel(logging.CRITICAL)  # its errors come to our callback, too


def _handler(log_format: LogFormat) -> logging.Handler:
    if log_format == "text" and sys.stderr.isatty():
        return _terminal()
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else PlainFormatter())
    return handler


def _terminal() -> logging.Handler:
    from rich.console import Console
    from rich.highlighter import NullHighlighter
    from rich.logging import RichHandler

    handler = RichHandler(
        console=Console(stderr=True),
        highlighter=NullHighlighter(),
        show_path=False,
        log_time_format="%X",
    )
    handler.setFormatter(logging.Formatter("%(message)s"))
    return handler
