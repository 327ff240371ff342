"""The shape of the package: rooms, their imports, the sizes of files and functions, wording."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    {"settings"},
    {"credentials"},
    {"_aio"},
    {"errors", "_text"},
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted({file.parent for file in FILES} - {PACKAGE})
MAX_NAMES, MAX_LINES, MAX_QUESTIONS = 10, 40, 0.02
QUESTIONS = {"What", "Who", "How", "Whether", "That", "Where", "When", "Which"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(file: Path) -> set[str]:
    """Return the rooms that a file imports from, also inside of functions."""
    rooms: set[str] = set()
    for node in nodes(file):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import"
            names = [f"{node.module}.{each.name}" for each in node.names]
        else:
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        rooms |= {name.split(".")[1] for name in names if name.startswith("rosey_dbsvc.")}
    return rooms


def nodes(file: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(file.read_bytes()))


def test_every_room_is_in_the_table() -> None:
    found = {room_of(file) for file in FILES}
    assert found == set(LEVEL)
    assert len([room for room in found if not (PACKAGE / room).is_dir()]) <= MAX_NAMES


def test_a_room_imports_from_lower_levels_only() -> None:
    wrong = [
        f"{file.relative_to(PACKAGE)} imports {room}"
        for file in FILES
        for room in imported_rooms(file) - {room_of(file)}
        if LEVEL.get(room, 0) <= LEVEL[room_of(file)]
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_has_4_to_12_files(folder: Path) -> None:
    assert 4 <= len([*folder.glob("*.py"), *folder.glob("*.sql")]) <= 12


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{file.relative_to(PACKAGE)}: {node.name} has {lines} lines"
        for file in FILES
        for node in nodes(file)
        if isinstance(node, Function)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > MAX_LINES
    ]
    assert long == []


def test_docstrings_name_a_thing_or_an_action() -> None:
    documented = (ast.Module, ast.ClassDef, *Function.__args__)
    texts = [
        text
        for file in FILES
        for node in nodes(file)
        if isinstance(node, documented) and (text := ast.get_docstring(node))
    ]
    questions = [text for text in texts if text.split()[0] in QUESTIONS]
    assert len(questions) <= MAX_QUESTIONS * len(texts), questions
