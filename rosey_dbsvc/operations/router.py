"""From a subject to an operation."""

from collections.abc import Iterable
from typing import NamedTuple

from rosey_dbsvc.operations.base import Operation


class Route(NamedTuple):
    """An operation, and the tokens of the subject that its name has braces for."""

    operation: type[Operation]
    tokens: dict[str, str]


class Router:
    """Finds the operation for a subject, such as `rosey.db.row.{plugin}.insert`."""

    def __init__(self, prefix: str, operations: Iterable[type[Operation]]) -> None:
        self._exact: dict[str, Route] = {}
        self._patterns: list[tuple[list[str], type[Operation]]] = []
        for operation in operations:
            subject = f"{prefix}.{operation.name}"
            if "{" in operation.name:
                self._patterns.append((subject.split("."), operation))
            else:
                self._exact[subject] = Route(operation, {})

    def find(self, subject: str) -> Route | None:
        """Return the route of a subject, None if no operation has it."""
        return self._exact.get(subject) or self._match(subject)

    def _match(self, subject: str) -> Route | None:
        if not self._patterns:
            return None
        tokens = subject.split(".")
        for pattern, operation in self._patterns:
            pairs = list(zip(pattern, tokens, strict=False))
            if len(pattern) == len(tokens) and all(_is_wild(p) or p == t for p, t in pairs):
                return Route(operation, {p.strip("{}"): t for p, t in pairs if _is_wild(p)})
        return None


def _is_wild(token: str) -> bool:
    return token.startswith("{")
