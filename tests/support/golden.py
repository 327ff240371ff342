"""The files of tests/golden: payloads that each operation accepts and rejects, with results."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rosey_dbsvc import BotDatabase
from rosey_dbsvc.operations import OPERATIONS
from rosey_dbsvc.operations.base import Operation

FOLDER = Path(__file__).parents[1] / "golden"

BAD_BYTES = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'"alice"',
    b'{"username": "alice", "message": "hi", "message_id": 1} {}',
    b"alice",
    b"\xff\xfe",
    b'{"username": "\xff", "message": "hi", "message_id": 1}',
    b'{"username": "\\ud800", "message": "hi", "message_id": 1, "status": "\\ud800"} ?',
    b'{"deep": ' + b"[" * 100_000,
)
"""Payloads that no operation accepts."""


class Case(NamedTuple):
    operation: type[Operation]
    payload: bytes
    expected: dict[str, Any]


def golden(operation: type[Operation]) -> dict[str, list[dict[str, Any]]]:
    file = FOLDER / f"{operation.name}.json"
    return json.loads(file.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def accepted() -> list[Any]:
    return [_case(each, one) for each in OPERATIONS for one in golden(each)["accepted"]]


def rejected() -> list[Any]:
    return [_case(each, one) for each in OPERATIONS for one in golden(each)["rejected"]]


def _case(operation: type[Operation], one: dict[str, Any]) -> Any:
    payload = json.dumps(one["payload"]).encode()
    title = f"{operation.name}-{one.get('dialect', '')}-{payload[:40].decode()}"
    return pytest.param(Case(operation, payload, one), id=title)


def prepare(database: BotDatabase, case: Case) -> None:
    """Write the rows that the case expects in the database."""
    for name, *arguments in case.expected.get("before", []):
        if name == "update_current_status_of":
            database.update_current_status(current_media_title=arguments[0])
        else:
            getattr(database, name)(*arguments)


def untimed(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without its timestamp."""
    return {name: value for name, value in row.items() if name != "timestamp"}
