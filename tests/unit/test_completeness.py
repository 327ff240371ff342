"""Every operation is in every layer. What is missing is named in one line each."""

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, get_origin

from nats.aio.client import Client
from support import golden

import rosey_dbsvc
from rosey_dbsvc import DatabaseClient
from rosey_dbsvc.operations import OPERATIONS
from rosey_dbsvc.operations.base import Event, Operation
from rosey_dbsvc.operations.router import Router
from rosey_dbsvc.storage.adopted_methods import METHODS
from rosey_dbsvc.storage.sqlite.storage import BULK_HANDLERS, HANDLERS

ROOT = Path(rosey_dbsvc.__file__).parents[1]
PREFIX = "rosey.db"
VALUES = {str: "text", int: 1, float: 1.0, bool: True, dict: {}, list: [], bytes: b""}


class Recorder:
    """A transport that notes the subjects."""

    def __init__(self) -> None:
        self.subjects: list[str] = []

    async def publish(self, subject: str, payload: bytes) -> None:
        assert payload
        self.subjects.append(subject)

    async def request(self, subject: str, payload: bytes) -> bytes:
        await self.publish(subject, payload)
        return b"[]"


async def published_by(client: type[DatabaseClient]) -> set[str]:
    """Call every public method, and return the names of the operations."""
    recorder, router = Recorder(), Router(PREFIX, OPERATIONS)
    calling = client(Client(), prefix=PREFIX).over(lambda _: recorder)
    for name, method in inspect.getmembers(calling, inspect.iscoroutinefunction):
        if not name.startswith("_"):
            await method(**arguments_of(method))
    routes = [router.find(subject) for subject in recorder.subjects]
    return {route.operation.name for route in routes if route is not None}


def arguments_of(method: Any) -> dict[str, Any]:
    """Return a value for each parameter that must have one."""
    parameters = inspect.signature(method, eval_str=True).parameters.values()
    return {
        each.name: VALUES[get_origin(each.annotation) or each.annotation]
        for each in parameters
        if each.default is each.empty and each.kind is not each.VAR_KEYWORD
    }


def is_documented(name: str) -> bool:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    return any(f"`{name}`" in page.read_text(encoding="utf-8") for page in pages)


def missing(operations: Iterable[type[Operation]], published: set[str]) -> list[str]:
    """Return a line for each thing that an operation lacks."""
    lines = []
    for operation in operations:
        name = operation.name
        file = golden.FOLDER / f"{name}.json"
        layers = {
            "no handler in storage/sqlite/": operation in HANDLERS | BULK_HANDLERS,
            "no entry in METHODS of storage/adopted_methods.py": operation in METHODS,
            "no method in client/": name in published,
            f"no file tests/golden/{file.name}": file.exists(),
            "not in README.md, nor in docs/*.md": is_documented(name),
        }
        lines += [f"{name}: {lack}" for lack, is_there in layers.items() if not is_there]
    return lines


async def test_no_operation_is_missing_anywhere() -> None:
    assert missing(OPERATIONS, await published_by(DatabaseClient)) == []


class Fake(Event, frozen=True, gc=False):
    """An operation that is nowhere."""

    name: ClassVar[str] = "row.{plugin}.fake"


def test_all_that_an_operation_lacks_is_named() -> None:
    assert missing([Fake], set()) == [
        "row.{plugin}.fake: no handler in storage/sqlite/",
        "row.{plugin}.fake: no entry in METHODS of storage/adopted_methods.py",
        "row.{plugin}.fake: no method in client/",
        "row.{plugin}.fake: no file tests/golden/row.{plugin}.fake.json",
        "row.{plugin}.fake: not in README.md, nor in docs/*.md",
    ]


async def test_a_method_that_is_gone_is_noticed() -> None:
    class Without(DatabaseClient):
        log_user_count = None  # type: ignore[assignment]

    assert missing(OPERATIONS, await published_by(Without)) == [
        "stats.user_count: no method in client/"
    ]
