"""Types of the fixtures that make services."""

from collections.abc import Callable

from rosey_dbsvc import DatabaseService

ServiceOf = Callable[..., DatabaseService]
"""Makes a service from a database and options, under the prefix of the test."""
