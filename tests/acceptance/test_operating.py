"""docs/operating.md explains every log line, metric and command."""

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
    "%s",  # the line of an event, which the page shows as it is
    "%(problem)s, retrying: %(reason)s%(detail)s",  # of a Backoff
    "%(recovery)s after %(seconds).1f s",
)
LEVELS = {"info", "warning", "error"}


def calls() -> list[ast.Call]:
    return [
        node
        for file in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]


def text_of(node: ast.expr) -> str | None:
    """Return a string with an ellipsis for each value put into it, None if it is no string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
        )
    return None


def shown(line: str) -> str:
    return re.sub(r"(%(\(\w+\))?(\.\d)?[sdf])+", "…", line)


def logged(receiver: str = "") -> list[tuple[str, str]]:
    """Return each log line as the page shows it, and its level."""
    found = []
    for call in calls():
        method = call.func
        if not isinstance(method, ast.Attribute) or method.attr not in LEVELS:
            continue
        line = text_of(call.args[0]) if call.args else None
        if line is not None and line not in ELSEWHERE and receiver in ast.unparse(method.value):
            found.append((shown(line), method.attr.upper()))
    return found


def backoffs() -> list[tuple[str, str]]:
    """Return the log lines of a problem that is retried, and of the recovery."""
    found = []
    for call in calls():
        if isinstance(call.func, ast.Name) and call.func.id == "Backoff":
            problem, recovery = map(text_of, call.args)
            found += [(f"{problem}, retrying: …", "WARNING"), (f"{recovery} after … s", "INFO")]
    return found


@pytest.mark.parametrize(("line", "level"), sorted({*logged(), *backoffs()}))
def test_each_line_of_the_log_is_explained(line: str, level: str) -> None:
    rows = [row for row in OPERATING.splitlines() if f"`{line}" in row]
    assert any(f"| {level} |" in row for row in rows), (line, level)


def test_there_are_lines_to_explain() -> None:
    assert len(logged()) > 30
    assert len(logged("_throttle")) == 3
    assert len(backoffs()) == 12


def explained() -> set[tuple[str, str]]:
    """Return the log lines in the tables of the page, and their levels."""
    rows = re.findall(r"^\| (`.+`) \| (INFO|WARNING|ERROR) \|", OPERATING, re.MULTILINE)
    return {(line, level) for lines, level in rows for line in re.findall("`([^`]+)`", lines)}


def test_no_line_of_the_log_is_made_up() -> None:
    of_events = {"Bot status: … - …"}
    written = {*logged(), *backoffs()}
    assert {
        (line, level)
        for line, level in explained()
        if line not in of_events
        and not any(line.startswith(text) and level == its for text, its in written)
    } == set()


def names() -> set[str]:
    return {metric.name for metric in metrics.CountsCollector(Counts, {}).collect()}


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
