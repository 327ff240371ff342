"""Text for logs and terminals."""

import logging
from typing import Any

MAX_LENGTH = 200


def shorten(text: str, max_length: int = MAX_LENGTH) -> str:
    """Return the text on one line, control characters escaped, cut to `max_length` characters."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:max_length])
    return shown if len(text) <= max_length else f"{shown}…"


def describe(error: BaseException) -> str:
    """Return the class and the message of an exception on one line."""
    return shorten(f"{type(error).__name__}: {error}")


class Logger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose messages have named fields, like `%(subject)s`, given as keyword arguments.

    In a JSON log they are fields of the object.
    """

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name), {})

    def log(self, level: int, msg: object, *args: object, **fields: Any) -> None:  # noqa: ANN401
        """Log a message with its fields."""
        if self.isEnabledFor(level):
            self.logger.log(level, msg, *args, *([fields] if fields else []), stacklevel=3)
