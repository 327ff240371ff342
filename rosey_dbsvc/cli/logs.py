"""Where log lines go and how they look: pleasant on a terminal, plain in a pipe, or JSON."""

import json
import logging
import sys
from datetime import UTC, datetime

from rosey_dbsvc.settings import LogFormat, LogLevel


class PlainFormatter(logging.Formatter):
    """A line a record."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")


class JsonFormatter(logging.Formatter):
    """An object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)  # not msgspec, since a path need not be UTF-8


def configure(level: LogLevel, log_format: LogFormat) -> None:
    """Send the log to standard error."""
    logging.basicConfig(level=logging.WARNING, handlers=[_handler(log_format)], force=True)
    logging.getLogger("rosey_dbsvc").setLevel(level.upper())
    logging.getLogger("nats").setLevel(logging.CRITICAL)  # it tells us, and adds a traceback


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
