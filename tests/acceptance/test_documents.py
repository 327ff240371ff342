"""Every command of the documents, as it is typed, on a machine that has only Python."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import fields
from support.databases import select
from support.processes import ENVIRONMENT
from support.servers import NatsServer, free_port, nats_server

import rosey_dbsvc
from rosey_dbsvc import BotDatabase, errors
from rosey_dbsvc.operations.base import OPERATIONS, StatusData

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    "README.md",
    *sorted(str(each.relative_to(ROOT)) for each in (ROOT / "docs").rglob("*.md")),
)
COPIED = ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "rosey_dbsvc", "deploy", "docs")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SERVING = "serving"

NOT_RUN = {
    "nox": "it is what runs these tests, or takes long, as benchmarks do",
    "nats": "it is not on the package index",
    "docker": "it needs an engine",
}


Follow = Callable[[str], list[str]]


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
        text = text.replace("Settings(", f"Settings(local_port={self.port}, ")
        return text.replace("4222", str(self.port)).replace("9464", str(self.metrics_port))

    @property
    def _environment(self) -> dict[str, str]:
        path = f"{self.root / 'bin'}:{self.clone / '.venv' / 'bin'}:{ENVIRONMENT['PATH']}"
        return ENVIRONMENT | {"PATH": path, "ROOT": str(self.root)}

    def run(self, text: str) -> None:
        """Run the lines of a block; a service that the last of them starts goes on."""
        *lines, last = self._here(text).strip().splitlines()
        if not re.search(r"rosey-dbsvc run\b", last):
            # A demo has a server of its own, and asks about one in the environment.
            there = {} if " demo" in last else {"NATS_URL": f"nats://127.0.0.1:{self.port}"}
            self._run("\n".join([*lines, last]), **there)
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
        for file in self.clone.glob("*.db*"):
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


@pytest.fixture
def follow(machine: Machine) -> Iterator[Callable[[str], list[str]]]:
    """Do what a document says; return what each of its programs prints."""

    def follow(document: str) -> list[str]:
        printed = []
        for block in blocks(document):
            if block.language == "python":
                printed.append(machine.python(block.text))
            elif block.is_run:
                machine.run(block.text)
        return printed

    machine.forget()
    yield follow
    machine.stop()


def test_what_is_not_run_is_known() -> None:
    found = [block for name in DOCUMENTS for block in blocks(name)]
    assert {block.language for block in found} <= {"sh", "text", "python", "console", "yaml"}
    for block in found:
        if block.language == "console":
            assert block.commands <= set(NOT_RUN), block


def test_every_block_is_seen() -> None:
    for name in DOCUMENTS:
        fences = re.findall(r"^ *```(\w+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
        assert fences == [block.language for block in blocks(name)], name


@pytest.mark.documents
def test_the_site_has_all_of_the_contract_and_of_what_is_public(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "--keep-going"]
    done = subprocess.run(
        [*build, ROOT / "docs", tmp_path / "site"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    contract = (tmp_path / "site/contract.html").read_text(encoding="utf-8")
    for operation in OPERATIONS:
        assert f">{operation.name}</span>" in contract
        assert all(f">{field.name}</span>" in contract for field in fields(operation))
    assert all(f">{field}</span>" in contract for field in StatusData.__annotations__)
    reference = (tmp_path / "site/reference.html").read_text(encoding="utf-8")
    for name in {*rosey_dbsvc.__all__, "host.serve", *error_names()} - {"DbsvcError"}:
        assert f'id="rosey_dbsvc.{name}"' in reference, name


def error_names() -> list[str]:
    return [
        f"errors.{name}"
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.DbsvcError)
    ]


@pytest.mark.documents
@pytest.mark.timeout(600)
def test_the_readme(follow: Follow) -> None:
    pasted, client = follow("README.md")
    assert '"username":"alice","message":"hello"' in pasted
    assert "alice hello again\n" in client


@pytest.mark.documents
@pytest.mark.timeout(600)
def test_embedding(follow: Follow) -> None:
    outside, left, wrong, inside, failing, on_trio, alone, beside, own = follow("docs/embedding.md")
    assert outside == "alice hello again\n"
    assert left == ""
    not_sent, without, later = wrong.splitlines()
    assert re.fullmatch("not sent: .*username.*", not_sent)
    assert without.startswith("go on without: no service listens at nobody.here.")
    assert later.startswith("say so, and try again later: no NATS server answers at")
    assert failing.startswith("bot: cannot make bot_data.db: there is no directory ")
    assert beside == "[]\n"  # alice has left
    assert "'username': 'alice', 'message': 'from inside'" in inside
    assert on_trio == "['from inside', 'from trio']\n"
    assert alone == "1 applied\n"
    assert own == "welcome, carol\n"


@pytest.mark.documents
@pytest.mark.timeout(600)
def test_durability(machine: Machine, follow: Follow) -> None:
    stored, acknowledged = follow("docs/durability.md")
    assert stored == ""
    assert acknowledged.startswith("PubAck(stream='ROSEY_DB', seq=2, ")
    assert (machine.clone / "new.db").exists()


@pytest.mark.documents
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("server_of_the_machine")
def test_the_decision_for_one_subscription(follow: Follow) -> None:
    (printed,) = follow("docs/decisions/one-subscription.md")
    several, one = printed.splitlines()
    assert one == "0 with one subscription"
    assert re.fullmatch("[1-9][0-9]* of 300", several)


@pytest.mark.documents
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("server_of_the_machine")
def test_operating(machine: Machine, follow: Follow) -> None:
    old = BotDatabase(machine.clone / "bot_data.db")
    old.user_joined("somebody of before")
    old.close()
    assert follow("docs/operating.md") == []
    kept = machine.root / "var/lib/rosey-dbsvc"
    users = select(kept / "bot_data.db", "SELECT username FROM user_stats")
    assert users == [("somebody of before",)]
    assert len([*kept.glob("damaged-*/bot_data.db")]) == 1
    assert len([*(kept / "backups").glob("*.db")]) == 1
    log = (machine.root / "run/rosey-dbsvc.service.log").read_text()
    assert log.count(SERVING) == 5
    assert not re.search("ERROR|CRITICAL", log)


def test_what_is_run_is_in_a_test_that_runs_it() -> None:
    followed = set(re.findall(r'follow\("([^"]+)"\)', Path(__file__).read_text(encoding="utf-8")))
    for name in DOCUMENTS:
        if any(block.is_run or block.language == "python" for block in blocks(name)):
            assert name in followed
