"""Commands on a database file: backup and maintenance."""

from collections.abc import Callable

Report = Callable[[int, int], None]  # called with how much is done, and the total
