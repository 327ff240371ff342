"""Usage errors and help of the command line."""

import json
import logging
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.processes import ENVIRONMENT, run

from rosey_dbsvc import Credentials, Durable
from rosey_dbsvc.cli import app as cli
from rosey_dbsvc.errors import InvalidSettings
from rosey_dbsvc.service import composition
from rosey_dbsvc.settings import Settings, parse_duration

COMMANDS = ("run", "replay", "backup", "maintain", "ping", "stats", "operations", "demo")
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CONNECTING = ("run", "ping", "stats", "replay --db-path new.db")
JSON = pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])

DURATION = "expected a duration like 10s, 30m, 24h or 7d, or seconds"
URLS = "expected nats:// or tls:// URLs, not http://"

WRONG = [
    *((f"{each} --local-port 0", "--local-port: expected 1 to 65535") for each in CONNECTING),
    *(
        (f"{each} --local-port x", "--local-port: Input should be a valid integer")
        for each in CONNECTING
    ),
    *((f"{each} --nats-url http://x", f"--nats-url: {URLS}") for each in CONNECTING),
    *(
        (f"{each} --nats-user u", "--nats-user and --nats-password go together")
        for each in CONNECTING
    ),
    *(
        (f"{each} --nats-token t --nats-nkey f", "give only one of --nats-token and --nats-nkey")
        for each in CONNECTING
    ),
    *((f"{each} --tls-cert c", "--tls-cert and --tls-key go together") for each in CONNECTING),
    *(
        (f"{each} --prefix a..b", "--prefix: expected tokens joined by dots, like rosey.db")
        for each in CONNECTING
    ),
    *(
        (f"{each} --nats-creds missing", "--nats-creds: missing: No such file or directory")
        for each in CONNECTING
    ),
    *(
        (f"{each} --tls-ca missing", "--tls-ca: missing: No such file or directory")
        for each in CONNECTING
    ),
    ("run --stop-timeout -1", f"--stop-timeout: {DURATION}"),
    ("run --stop-timeout soon", f"--stop-timeout: {DURATION}"),
    ("run --stop-timeout nan", f"--stop-timeout: {DURATION}"),
    ("run --maintain-every x", f"--maintain-every: {DURATION}"),
    ("run --maintain-every daily", f"--maintain-every: {DURATION}"),
    ("run --durable --stream-max-age x", f"--stream-max-age: {DURATION}"),
    ("run --durable --stream-max-bytes x", "--stream-max-bytes: expected a size like 500M or 2G"),
    ("run --durable --stream-replicas 9", "--stream-replicas: expected 1 to 5"),
    ("run --durable --stream-replicas x", "--stream-replicas: Input should be a valid integer"),
    ("run --durable --stream a.b", "--stream: expected letters, digits, - and _, like ROSEY_DB"),
    ("replay --db-path new.db --stream a.b", "--stream: expected letters, digits, - and _"),
    ("run --stream-max-age 1d", "the --stream flags need --durable: add it"),
    ("run --metrics-address x", "--metrics-address: expected HOST:PORT, like 127.0.0.1:9464"),
    ("run --database x", "--database: expected MODULE:ATTRIBUTE, like common.database:BotDatabase"),
    ("run --database no_such:X", "--database: cannot import no_such:X: ModuleNotFoundError"),
    ("replay --db-path new.db --database x", "--database: expected MODULE:ATTRIBUTE"),
    ("run --log-level loud", "--log-level: 'loud' is not one of 'debug', 'info', "),
    ("run --log-format xml", "--log-format: 'xml' is not one of 'text', 'json'"),
    ("run --prefix rosey.*", "--prefix: expected tokens joined by dots, like rosey.db"),
    ("ping --timeout soon", f"--timeout: {DURATION}"),
    ("demo --rate 0", "--rate: expected 1 to 60000"),
    ("demo --rate many", "--rate: Input should be a valid integer"),
    ("demo --duration long", f"--duration: {DURATION}"),
    ("demo --duration -1", f"--duration: {DURATION}"),
    *((f"{each} --huh", "No such option: --huh") for each in COMMANDS),
    ("replay", "Missing option '--db-path'"),
    ("backup", "Missing argument 'DEST'"),
    ("backup one.db two.db", "Got unexpected extra argument(s) (two.db); see "),
    ("bake", "No such command 'bake'"),
    ("--huh", "No such option: --huh"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment without flags."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", {**ENVIRONMENT})
    return tmp_path


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A command that is refused late has replaced the handlers."""
    before = {number: signal.getsignal(number) for number in HANDLED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def start_nothing(_: object) -> None:
    pytest.fail("it looks for a server")


def main(line: str | list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the command line in this process; return the exit code."""
    arguments = line.split() if isinstance(line, str) else line
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["rosey-dbsvc", *arguments])
        patch.setattr(logging.getLogger(), "handlers", [])  # as there is no log yet
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def message_of(text: str, *, as_json: bool) -> str:
    """Return the message of an error that is one line or one object."""
    (line,) = text.splitlines()
    if as_json:
        record = json.loads(line)
        assert record["level"] == "critical"
        return str(record["message"])
    found = re.fullmatch(r"(?:rosey-dbsvc:|\S+ \S+ CRITICAL) (.+)", line)
    assert found is not None, line
    return found[1]


@JSON
@pytest.mark.parametrize(("line", "says"), WRONG)
def test_a_wrong_command_line_is_one_line_and_exit_code_2_before_anything_starts(
    line: str,
    says: str,
    as_json: bool,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(composition, "_servers", start_nothing)
    if as_json:
        monkeypatch.setenv("ROSEY_DBSVC_LOG_FORMAT", "json")
    assert main(line, monkeypatch) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    if not (as_json and "--log-format" in line):
        assert message_of(printed.err, as_json=as_json).startswith(says)
    assert [*folder.iterdir()] == []


@pytest.mark.parametrize("prefix", ["a b", "", ".a", "a.*", "a\nb", "$SRV"])
def test_a_prefix_that_cannot_begin_a_subject_is_refused_by_each_command(
    prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in CONNECTING:
        assert main([*command.split(), "--prefix", prefix], monkeypatch) == 2
        says = message_of(capsys.readouterr().err, as_json=False)
        assert says.startswith("--prefix: expected tokens joined by dots, like rosey.db")


@pytest.mark.parametrize(
    "arguments",
    [
        "run --prefix a..b --log-format json",
        "run --prefix a..b --log-format=json",
        "run --huh --log-format json",
        "stats --prefix a..b --json",
        "operations --json --huh",
    ],
)
def test_who_asks_for_json_gets_the_error_as_one_object(
    arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments, monkeypatch) == 2
    message_of(capsys.readouterr().err, as_json=True)


def test_a_flag_beats_the_environment_in_the_choice_of_the_format(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROSEY_DBSVC_LOG_FORMAT", "json")
    assert main("run --prefix a..b --log-format text", monkeypatch) == 2
    message_of(capsys.readouterr().err, as_json=False)


def test_a_wrong_value_in_the_environment_is_refused_like_a_flag(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROSEY_DBSVC_STOP_TIMEOUT", "soon")
    monkeypatch.setenv("ROSEY_DBSVC_LOCAL_PORT", "4223")
    assert main("run", monkeypatch) == 2
    says = message_of(capsys.readouterr().err, as_json=False)
    assert says.startswith("--stop-timeout: expected a duration")


@pytest.mark.parametrize(
    "url", ["nats://bot:12/sEcReT@h", "nats://token/sEcReT@h", "http://u:sEcReT@h", "u:sEcReT@h:x"]
)
def test_a_wrong_url_is_not_shown(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--nats-url", url], monkeypatch) == 2
    printed = capsys.readouterr().err
    assert message_of(printed, as_json=False).startswith("--nats-url: expected")
    assert "sEcReT" not in printed


@pytest.mark.parametrize("arguments", ["run --local-port 0", "run --huh", "run --database x"])
def test_a_process_ends_like_that_and_leaves_no_file(arguments: str, folder: Path) -> None:
    env = ENVIRONMENT | {"ROSEY_DBSVC_LOG_FORMAT": "json"}
    done = run(*arguments.split(), cwd=folder, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    message_of(done.stderr, as_json=True)
    assert [*folder.iterdir()] == []


# The library names fields, not flags


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("local_port", lambda: Settings(local_port=0)),
        ("prefix", lambda: Settings(prefix="a b")),
        ("stop_timeout", lambda: Settings(stop_timeout=-1)),
        ("maintain_every", lambda: Settings(maintain_every=float("nan"))),
        ("nats_urls", lambda: Settings(nats_urls=("http://x",))),
        ("max_age", lambda: Durable(max_age=-1)),
        ("replicas", lambda: Durable(replicas=9)),
        ("stream", lambda: Durable(stream="a.b")),
        ("user", lambda: Credentials(user="u")),
        ("creds", lambda: Credentials(creds="missing").options()),
        ("stop_timeout", lambda: parse_duration("soon", "stop_timeout")),
    ],
)
def test_a_bot_that_uses_the_library_sees_the_field(field: str, make: Callable[[], object]) -> None:
    with pytest.raises(InvalidSettings) as caught:
        make()
    assert f"`{field}`" in str(caught.value)
    assert "--" not in str(caught.value)


# Help


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_no_placeholders(
    command: str, flag: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, flag], monkeypatch) == 0
    shown = capsys.readouterr().out
    assert f"Example: rosey-dbsvc {command} " in " ".join(shown.split())
    assert "<bool>" not in shown
    assert not re.search(r"\{[A-Z_]+\}", shown)


@pytest.mark.parametrize("flag", ["--help", "-h", ""])
def test_without_a_command_the_help_names_all_commands(
    flag: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flag, monkeypatch) in ({0} if flag else {0, 2})
    printed = capsys.readouterr()
    assert all(command in printed.out + printed.err for command in COMMANDS)
    assert "<bool>" not in printed.out


HELP_OF_ALL = """
import sys
from rosey_dbsvc.cli.app import app
for command in sys.argv[1:]:
    sys.argv = ["rosey-dbsvc", command, "--help"]
    try: app()
    except SystemExit: pass
print("loaded:", *(name for name in ("nats", "sqlite3") if name in sys.modules))
"""


def test_help_of_every_command_imports_neither_nats_nor_sqlite3() -> None:
    command = [sys.executable, "-c", HELP_OF_ALL, *COMMANDS]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert result.stdout.endswith("loaded:\n")
