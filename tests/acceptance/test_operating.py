"""docs/operating.md says what there is, and all of it."""

import ast
import re
from pathlib import Path

import pytest

import rosey_dbsvc
from rosey_dbsvc.counters import Counts
from rosey_dbsvc.monitoring import prometheus as metrics

PACKAGE = Path(rosey_dbsvc.__file__).parent
OPERATING = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")

ELSEWHERE = (
    "Cleaned up %d old history records",  # of methods that the service does not call
    "Generated new API token: %s...",
    "Outbound message %d failed (will retry): %s",
    "Outbound message %d permanently failed: %s",
    "Revoked %d API token(s)",
    "%s",  # a CRITICAL line, or what another line of the table says
    "%s, trying again: %s%s",
    "%s, after %.1f s",
)


def calls() -> list[ast.Call]:
    return [
        node
        for file in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]


def text_of(node: ast.expr) -> str | None:
    """Return a string with an ellipsis for what is put into it, None of what is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
        )
    return None


def shown(line: str) -> str:
    return re.sub(r"%(\.\d)?[sdf]", "…", line)


def logged() -> list[tuple[str, str]]:
    """Return each line of the log, as the page shows it, and its level."""
    found = []
    for call in calls():
        name = call.func
        if not isinstance(name, ast.Attribute) or name.attr not in {"info", "warning", "error"}:
            continue
        line = text_of(call.args[0]) if call.args else None
        if line is not None and line not in ELSEWHERE:
            found.append((shown(line), name.attr.upper()))
    return found


def patience() -> list[tuple[str, str]]:
    """Return what is said while something cannot be had, and when it can."""
    found = []
    for call in calls():
        if isinstance(call.func, ast.Name) and call.func.id == "Patience":
            problem, relief = map(text_of, call.args)
            found += [(f"{problem}, trying again: …", "WARNING"), (f"{relief}, after … s", "INFO")]
    return found


def warnings() -> list[tuple[str, str]]:
    """Return what is said at most every ten seconds."""
    return [
        (shown(text_of(call.args[0]) or ""), "WARNING")
        for call in calls()
        if isinstance(call.func, ast.Attribute) and call.func.attr == "_say_now_and_then"
    ]


@pytest.mark.parametrize(("line", "level"), sorted({*logged(), *patience(), *warnings()}))
def test_each_line_of_the_log_is_explained(line: str, level: str) -> None:
    rows = [row for row in OPERATING.splitlines() if f"`{line}" in row]
    assert any(f"| {level} |" in row for row in rows), (line, level)


def test_there_are_lines_to_explain() -> None:
    assert len(logged()) > 30
    assert len(patience()) == 10
    assert len(warnings()) == 3


def names() -> set[str]:
    return {metric.name for metric in metrics.Metrics(Counts, {}).collect()}


@pytest.mark.parametrize("name", sorted(names()))
def test_each_metric_is_explained(name: str) -> None:
    pattern = rf"^\| `{name}(_total|_info)?` \|"
    assert re.search(pattern, OPERATING, re.MULTILINE)


def test_no_metric_is_made_up() -> None:
    named = set(re.findall(r"rosey_dbsvc_[a-z_]+", OPERATING))
    endings = ("_total", "_bucket", "_info")
    assert {re.sub(f"({'|'.join(endings)})$", "", name) for name in named} <= names()


def test_each_command_that_reads_settings_is_named() -> None:
    for command in ("run", "ping", "stats", "backup", "maintain", "replay"):
        assert f"`{command}`" in OPERATING or f"rosey-dbsvc {command}" in OPERATING
