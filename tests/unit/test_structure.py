"""Imports point down one list, never back up."""

import ast
from pathlib import Path

import rosey_dbsvc

PACKAGE = Path(rosey_dbsvc.__file__).parent

ROOMS = """
__main__ cli options running demo host replaying backup maintaining signals progress statements
systemd embedded exposing metrics statistics
finding client wire service serving discovery source follower pulling stream
consumer answers freshness question events intake unless threads upkeep writer opening lock storage
cursor grouping database patience connection logs tables settings credentials faults codec
counts contract errors
""".split()


def room(module: str) -> str:
    return module.removeprefix("rosey_dbsvc").lstrip(".").partition(".")[0]


def imported(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = {
        f"{node.module}.{alias.name}" if node.module == "rosey_dbsvc" else str(node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return {room(name) for name in names if name.startswith("rosey_dbsvc")}


def test_every_room_is_on_the_list() -> None:
    modules = {file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in files()}
    assert modules - {"__init__"} == set(ROOMS)


def test_imports_point_down_the_list() -> None:
    for file in files():
        here = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if here == "__init__":
            continue
        above = imported(file) - {here} - set(ROOMS[ROOMS.index(here) :])
        assert not above, f"{here} imports {above}"


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))
