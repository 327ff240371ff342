"""Every command of the documents, as it is typed, on a machine that has only Python."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from support.databases import select
from support.processes import ENVIRONMENT
from support.servers import NatsServer, free_port, nats_server

from rosey_dbsvc import BotDatabase

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", *sorted(f"docs/{each.name}" for each in (ROOT / "docs").glob("*.md")))
COPIED = ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "rosey_dbsvc", "deploy", "docs")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SERVING = "serving"

NOT_RUN = {
    "nox": "it is what runs these tests, or takes long, as benchmarks do",
    "nats": "it is not on the package index",
    "docker": "it needs an engine",
}


class Block(NamedTuple):
    document: str
    language: str
    text: str

    @property
    def is_run(self) -> bool:
        return self.language == "sh" and not self.commands & set(NOT_RUN)

    @property
    def commands(self) -> set[str]:
        """The names of what is called, without their folders."""
        parts = re.split(r"\n|&&", self.text.strip())
        return {part.split()[0].rpartition("/")[2] for part in parts if part.strip()}


def blocks(document: str) -> list[Block]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [Block(document, *found.groups()) for found in BLOCK.finditer(text)]


class Machine:
    """A machine with a clone, and nothing of it installed."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.clone = folder / "clone"
        for each in ("opt", "etc/systemd/system", "var/lib", "root", "bin"):
            (self.root / each).mkdir(parents=True)
        self.clone.mkdir()
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, self.clone / name)
        self.port, self.metrics_port = free_port(), free_port()
        self._add_systemctl()
        self.said = ""
        self._serving: subprocess.Popen[str] | None = None

    def _add_systemctl(self) -> None:
        stand_in = self.root / "bin" / "systemctl"
        program = ROOT / "tests" / "support" / "systemctl.py"
        stand_in.write_text(f'#!/bin/sh\nexec {sys.executable} {program} "$@"\n')
        stand_in.chmod(0o755)
        units = self.clone / "deploy"
        for unit in (*units.glob("*.service"), *units.glob("*.timer")):
            unit.write_text(self._here(unit.read_text(encoding="utf-8")), encoding="utf-8")

    def _here(self, text: str) -> str:
        """Put what the machine has for its own into what a document says."""
        for folder in ("/opt/", "/etc/", "/var/lib/", "/root/"):
            text = re.sub(rf"(?<![\w/.]){folder}", f"{self.root}{folder}", text)
        text = text.replace("nats-server -js", f"nats-server -p {self.port} -js")
        return text.replace("4222", str(self.port)).replace("9464", str(self.metrics_port))

    @property
    def _environment(self) -> dict[str, str]:
        path = f"{self.root / 'bin'}:{self.clone / '.venv' / 'bin'}:{ENVIRONMENT['PATH']}"
        return ENVIRONMENT | {"PATH": path, "ROOT": str(self.root)}

    def run(self, text: str) -> None:
        """Run the lines of a block; a service that the last of them starts goes on."""
        *lines, last = self._here(text).strip().splitlines()
        if " run" not in last:
            self._run("\n".join([*lines, last]), NATS_URL=f"nats://127.0.0.1:{self.port}")
            return
        self.stop()
        *before, last = last.split(" && ")
        self._run("\n".join([*[line for line in lines if line[-1] != "&"], *before]))
        if lines and lines[-1][-1] == "&":
            last = f"{lines[-1]} exec {last}"
        self._serve(last)

    def _run(self, text: str, **env: str) -> None:
        done = subprocess.run(
            ["sh", "-eu", "-c", text],
            cwd=self.clone,
            env=self._environment | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        self.said = done.stdout
        assert done.returncode == 0, f"{text}\n{done.stdout}"

    def _serve(self, line: str) -> None:
        self._serving = subprocess.Popen(
            ["sh", "-eu", "-c", line],
            cwd=self.clone,
            env=self._environment | {"ROSEY_DBSVC_LOCAL_PORT": str(self.port)},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._serving.stderr is not None
        assert any(SERVING in said for said in self._serving.stderr), line

    def python(self, text: str) -> str:
        self._run(f".venv/bin/python - <<'END'\n{self._here(text)}END")
        return self.said

    def stop(self) -> None:
        if self._serving is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._serving.pid, signal.SIGTERM)
            self._serving.communicate(timeout=30)
            self._serving = None

    def forget(self) -> None:
        """Remove the database that a document before has made."""
        for file in self.clone.glob("bot_data.db*"):
            shutil.rmtree(file) if file.is_dir() else file.unlink()

    def stop_units(self) -> None:
        for pid in (self.root / "run").glob("*.pid"):
            with suppress(ProcessLookupError):
                os.kill(int(pid.read_text()), signal.SIGKILL)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    yield machine
    machine.stop()
    machine.stop_units()


@pytest.fixture
def server_of_the_machine(machine: Machine) -> Iterator[NatsServer]:
    with nats_server("-p", str(machine.port)) as server:
        yield server


def test_what_is_not_run_is_known() -> None:
    found = [block for name in DOCUMENTS for block in blocks(name)]
    assert {block.language for block in found} <= {"sh", "text", "python", "console", "yaml"}
    for block in found:
        if block.language == "console":
            assert block.commands <= set(NOT_RUN), block


@pytest.mark.documents
@pytest.mark.timeout(600)
def test_the_readme(machine: Machine) -> None:
    answers = []
    for block in blocks("README.md"):
        if block.is_run:
            machine.run(block.text)
        elif block.language == "python" and "asyncio.run" in block.text:
            answers.append(machine.python(block.text))
    machine.stop()
    assert len(answers) == 2
    assert '"username":"alice","message":"hello"' in answers[0]
    assert "alice hello again\n" in answers[1]


@pytest.mark.documents
@pytest.mark.timeout(600)
def test_durability(machine: Machine) -> None:
    machine.forget()
    for block in blocks("docs/durability.md"):
        if block.is_run:
            machine.run(block.text)
    machine.stop()
    assert (machine.clone / "new.db").exists()


@pytest.mark.documents
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("server_of_the_machine")
def test_operating(machine: Machine) -> None:
    machine.forget()
    old = BotDatabase(machine.clone / "bot_data.db")
    old.user_joined("somebody of before")
    old.close()
    for block in blocks("docs/operating.md"):
        if block.is_run:
            machine.run(block.text)
    kept = machine.root / "var/lib/rosey-dbsvc"
    users = select(kept / "bot_data.db", "SELECT username FROM user_stats")
    assert users == [("somebody of before",)]
    assert len([*kept.glob("damaged-*/bot_data.db")]) == 1
    assert len([*(kept / "backups").glob("*.db")]) == 1
    log = (machine.root / "run/rosey-dbsvc.service.log").read_text()
    assert log.count(SERVING) == 5
    assert not re.search("ERROR|CRITICAL", log)
