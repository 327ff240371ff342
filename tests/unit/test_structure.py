"""Imports between the rooms of the package point downwards."""

import ast
from pathlib import Path

import rosey_dbsvc

PACKAGE = Path(rosey_dbsvc.__file__).parent
LEVELS = [
    {"__init__", "__main__"},
    {"cli"},
    {"embed"},
    {"service"},
    {"pipeline", "client", "monitoring"},
    {"messaging", "storage"},
    {"counters"},
    {"operations"},
    {"settings", "credentials"},
    {"errors", "_aio", "_text"},
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}


def room_of(module: str) -> str:
    return module.removeprefix("rosey_dbsvc").strip(".").partition(".")[0]


def imported(file: Path) -> set[str]:
    nodes = [node for node in ast.walk(ast.parse(file.read_bytes()))]
    modules = {f"{node.module}." for node in nodes if isinstance(node, ast.ImportFrom)}
    return {room_of(module) for module in modules if module.startswith("rosey_dbsvc.")} - {""}
