"""The other commands, and the whole command line."""

import errno
import json
import logging
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.processes import ENVIRONMENT, run

import rosey_dbsvc
from rosey_dbsvc.cli import app as cli
from rosey_dbsvc.operations import OPERATIONS, QUERIES
from rosey_dbsvc.operations import describe as tables

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_without_a_command_it_helps() -> None:
    assert "Usage: " in run().stdout
    assert "operations" in run("--help").stdout


def test_the_version_is_the_project_s() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run("--version").stdout == f"rosey-dbsvc {version}\n"


def test_operations_are_a_line_each_in_a_pipe() -> None:
    result = run("operations")
    assert result.returncode == 0
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [line[0] for line in lines] == ["operation", *(each.name for each in OPERATIONS)]
    assert all(len(line) == 4 for line in lines)


def test_operations_as_json_have_their_schemas() -> None:
    described = json.loads(run("operations", "--json").stdout)
    assert [each["name"] for each in described] == [each.name for each in OPERATIONS]
    assert {each["kind"] for each in described} == {"event", "query"}
    by_name = {each["name"]: each["payload"]["$defs"] for each in described}
    username = by_name["user.joined"]["UserJoined"]["properties"]["username"]
    assert username == {"type": "string", "minLength": 1, "maxLength": 255}
    replies = {each["name"]: each["reply"] for each in described if "reply" in each}
    assert {*replies} == {each.name for each in QUERIES}
    line = replies["stats.recent_chat.get"]["$defs"]["ChatLine"]
    assert line["required"] == ["message", "timestamp", "username"]


def test_help_needs_no_nats() -> None:
    program = (
        "import sys; sys.argv = ['rosey-dbsvc', '--help']\n"
        "from rosey_dbsvc.cli.app import app\n"
        "try: app()\n"
        "except SystemExit: print('loaded:', *(n for n in ('nats', 'sqlite3') if n in sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.endswith("loaded:\n")


def test_what_is_public_can_be_imported_and_nothing_else() -> None:
    for name in rosey_dbsvc.__all__:
        assert getattr(rosey_dbsvc, name).__name__ == name
    assert set(rosey_dbsvc.MODULES) == set(rosey_dbsvc.__all__)
    assert not hasattr(rosey_dbsvc, "Nothing")


def test_the_readme_s_table_is_current() -> None:
    assert tables.markdown() in README


def test_the_readme_names_only_flags_that_there_are() -> None:
    known = set(re.findall(r"--[a-z-]+", run("run", "--help").stdout))
    known |= set(re.findall(r"--[a-z-]+", run("operations", "--help").stdout)) | {"--version"}
    for command in re.findall(r"rosey-dbsvc run[^\n`]*", README):
        assert set(re.findall(r"--[a-z-]+", command)) <= known, command


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError(), ValueError("a bug")])
def test_what_is_a_bug_of_ours_is_not_hidden(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def app(*, standalone_mode: bool) -> None:
        assert not standalone_mode
        raise error

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(type(error)):
        cli.main()


def test_what_the_system_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app(*, standalone_mode: bool) -> None:
        assert not standalone_mode
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "rosey-dbsvc: [Errno 28] No space left on device\n"


def test_a_directory_that_was_deleted_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    script = (
        f'cd "{folder}" && rmdir "{folder}" && exec "{sys.executable}" -m rosey_dbsvc operations'
    )
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "rosey-dbsvc: the current directory does not exist any more: change to another one\n"
    )
