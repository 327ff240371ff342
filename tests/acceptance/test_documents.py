"""The documents: every command as it is typed, on a machine that has only Python."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import fields
from support.databases import select
from support.processes import ENVIRONMENT, SERVING
from support.servers import NatsServer, free_port, nats_server

import rosey_dbsvc
from rosey_dbsvc import BotDatabase, errors
from rosey_dbsvc.operations import OPERATIONS
from rosey_dbsvc.operations.channel import StatusData

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(str(each.relative_to(ROOT)) for each in (ROOT / "docs").rglob("*.md")),
)
COPIED = ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "rosey_dbsvc", "deploy", "docs")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PASTED = re.compile(r"^(?:\w+ = )?await ", re.MULTILINE)
STARTED = re.compile(r"systemctl (?:start|restart|enable --now) rosey-dbsvc(?!-backup)")

NOT_RUN = {
    "nox": "runs these tests itself, or takes long",
    "nats": "is not on the package index",
    "docker": "needs a Docker engine",
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
    def is_pasted(self) -> bool:
        """Whether it is for the prompt of `python -m asyncio`, and not a whole program."""
        return self.language == "python" and PASTED.search(self.text) is not None

    @property
    def commands(self) -> set[str]:
        """Names of the commands, without their folders."""
        parts = re.split(r"\n|&&", self.text.strip())
        return {part.split()[0].rpartition("/")[2] for part in parts if part.strip()}


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str) -> list[Block]:
    return [Block(document, *found.groups()) for found in BLOCK.finditer(text_of(document))]


def steps(document: str) -> Iterator[Block]:
    """Yield the blocks; what is pasted into the same Python is one."""
    for is_pasted, group in groupby(blocks(document), lambda block: block.is_pasted):
        first, *others = group
        if is_pasted:
            yield first._replace(text="".join(each.text for each in [first, *others]))
        else:
            yield from (first, *others)


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
        """Replace folders and ports by those of this machine."""
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
        """Run the lines of a block; a service that the last line starts stays running."""
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
        assert any(re.search(SERVING, said) for said in self._serving.stderr), line

    def install(self) -> None:
        """Install the package as README.md says, if its test has not done it."""
        if not (self.clone / ".venv").exists():
            *install, _ = blocks("README.md")[0].text.splitlines()
            self.run("\n".join(install))

    def python(self, block: Block) -> str:
        how = "-m asyncio" if block.is_pasted else "-"
        self._run(f".venv/bin/python {how} <<'END'\n{self._here(block.text)}END")
        return self.said

    def stop(self) -> None:
        if self._serving is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._serving.pid, signal.SIGTERM)
            self._serving.communicate(timeout=30)
            self._serving = None

    def forget(self) -> None:
        """Remove the database of the document before."""
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
    """Run the blocks of a document in order; return what each program prints."""

    def follow(document: str) -> list[str]:
        if document != "README.md":
            machine.install()
        printed = []
        for block in steps(document):
            if block.language == "python":
                printed.append(machine.python(block))
            elif block.is_run:
                machine.run(block.text)
        return printed

    machine.forget()
    yield follow
    machine.stop()


def test_each_block_that_is_not_run_has_a_known_reason() -> None:
    found = [block for name in DOCUMENTS for block in blocks(name)]
    assert {block.language for block in found} <= {"sh", "text", "python", "console", "yaml"}
    for block in found:
        if block.language == "console":
            assert block.commands <= set(NOT_RUN), block


def test_every_block_is_seen() -> None:
    for name in DOCUMENTS:
        fences = re.findall(r"^ *```(\w+)", text_of(name), re.MULTILINE)
        assert fences == [block.language for block in blocks(name)], name


def test_generated_parts_are_current() -> None:
    check = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_readme_has_one_picture_and_at_most_150_lines() -> None:
    readme = text_of("README.md")
    assert len(readme.splitlines()) <= 150
    assert re.findall(r"!\[.+\]\((.+)\)", readme) == ["docs/demo.svg"]


def test_measured_numbers_of_the_readme_are_those_of_the_performance_page() -> None:
    numbers = set(re.findall(r"\d+,\d{3}", text_of("README.md")))
    assert numbers
    assert numbers <= set(re.findall(r"\d+,\d{3}", text_of("docs/performance.md")))


def test_the_readme_stops_a_service_before_it_starts_the_next() -> None:
    durable = r"Press Ctrl-C in the first terminal[^#`]*```sh\n\.venv/bin/rosey-dbsvc run --durable"
    assert re.search(durable, text_of("README.md"))
    assert len(re.findall(r"^\S*rosey-dbsvc run", text_of("README.md"), re.MULTILINE)) == 2


def test_links_to_files_lead_to_files() -> None:
    for name in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text_of(name)):
            assert (ROOT / name).parent.joinpath(link).exists(), f"{name}: {link}"


def test_the_rooms_are_those_of_the_package() -> None:
    rooms = {file.parent.name for file in (ROOT / "rosey_dbsvc").glob("*/__init__.py")}
    table = text_of("CONTRIBUTING.md").partition("| room |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == rooms


def test_the_sessions_of_nox_are_those_of_the_contributing_page() -> None:
    session = r'^@nox.session(?:\(name="(.+)"\))?\ndef (.+)\('
    sessions = re.findall(session, text_of("noxfile.py"), re.MULTILINE)
    assert sessions
    for name, function in sessions:
        assert f"`{name or function}`" in text_of("CONTRIBUTING.md")


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
    for name in {*rosey_dbsvc.__all__, "embed.serve", *error_names()} - {"DbsvcError"}:
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
    (pasted,) = follow("README.md")
    assert re.search(r'\[{"timestamp":\d+,"username":"alice","message":"hello"}\]\n', pasted)
    assert "['hello', 'hello again']\n" in pasted
    assert "Error" not in pasted


@pytest.mark.documents
@pytest.mark.timeout(600)
def test_embedding(follow: Follow) -> None:
    outside, left, wrong, inside, failing, on_trio, alone, beside, own = follow("docs/embedding.md")
    assert outside == "alice hello again\n"
    assert left == ""
    not_sent, without, later = wrong.splitlines()
    assert re.fullmatch("not sent: .*username.*", not_sent)
    assert without.startswith("go on without: no service listens on nobody.here.")
    assert later.startswith("say so, and try again later: no NATS server responds at")
    assert failing.startswith("bot: cannot create bot_data.db: there is no directory ")
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
    assert len(re.findall(SERVING, log)) == len(STARTED.findall(text_of("docs/operating.md")))
    assert not re.search("ERROR|CRITICAL", log)


def test_each_document_with_something_to_run_has_a_test_that_follows_it() -> None:
    followed = set(re.findall(r'follow\("([^"]+)"\)', Path(__file__).read_text(encoding="utf-8")))
    for name in DOCUMENTS:
        if any(block.is_run or block.language == "python" for block in blocks(name)):
            assert name in followed
