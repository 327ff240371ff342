"""The interface between the service and a database."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from rosey_dbsvc._text import describe
from rosey_dbsvc.errors import NotADatabase
from rosey_dbsvc.operations.base import Event, Query
from rosey_dbsvc.storage import sqlite_errors
from rosey_dbsvc.storage.cursor import Cursor, Position

T = TypeVar("T")


class Received(Struct, frozen=True, gc=False):
    """An event with the time it was received, in Unix seconds, and its payload's size in bytes."""

    event: Event
    at: float
    size: int
    position: Position | None = None
    """Position in the stream, if it comes from one."""


class Rejection(NamedTuple):
    """An event that the database refused, and the reason."""

    event: Event
    reason: Exception


@dataclass(slots=True)
class Outcome:
    """Result of a batch: how many events are settled, and the obstacle to those after them."""

    settled: int = 0
    """Events committed or rejected."""
    rejections: list[Rejection] = field(default_factory=list)
    obstacle: Exception | None = None
    """Transient error, because of which the rest of the batch was not applied."""

    def raise_if_fatal(self) -> None:
        """Raise NotADatabase if the obstacle is not transient. Settled events stay settled."""
        if self.obstacle is not None and sqlite_errors.is_fatal(self.obstacle):
            raise NotADatabase(f"the database is no longer usable: {describe(self.obstacle)}")


class Retention(Protocol):
    """Deletes old rows in small steps."""

    @property
    def done(self) -> list[str]:
        """What was deleted, one line per table."""

    def step(self) -> bool:
        """Run one transaction; return whether there are more. Raises sqlite3.Error."""


class Storage(Protocol):
    """A database as the service uses it. Methods are called in threads, `apply` in one at a time.

    Conformance is tested in tests/storage/.
    """

    name: str
    """Name in log lines: the file, or else the class."""
    file: str
    """Path of the SQLite file, empty if there is none or it is not known."""
    cursor: Cursor | None
    """Position in the stream, after `follow`."""
    commits_batches: bool
    """Whether a batch is one transaction, together with the move of the cursor."""
    readers: int
    """Queries that can run at once beside `apply`. With 0, they take turns with it."""

    @property
    def followed_stream(self) -> str:
        """Name of the stream that the database has a cursor for, empty if none."""

    def follow(self, stream: str) -> None:
        """Open the cursor for a stream. Raises NotAdoptable, CannotOpen or sqlite3.Error."""

    def apply(self, batch: Sequence[Received], position: Position | None = None) -> Outcome:
        """Apply events in order, and move the cursor to the position with the last of them.

        Settled events are on disk, or rejected for good.
        """

    def answer(self, query: Query, use: Callable[[Iterable[Any]], T]) -> T:
        """Return `use(rows)`. Rows may be read while they are used.

        Raises NotSupported, and whatever the database raises.
        """

    def retention(self, now: float) -> Retention | None:
        """Return the deletion of what is old at this time, None if that is not our task."""

    def release(self, busy_timeout: int | None = None) -> None:
        """Close own connections, and give the database back with this busy time-out, in ms.

        None restores the time-out it had.
        """
