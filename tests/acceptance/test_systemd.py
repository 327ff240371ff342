"""`rosey-dbsvc run` under systemd: notifications, and the units."""

import json
import os
import shutil
import socket
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from support.processes import SERVING, run, running
from support.servers import NatsServer

from rosey_dbsvc.monitoring import systemd

DEPLOY = Path(__file__).parents[2] / "deploy"
INSTALLED = "/opt/rosey-dbsvc/bin/rosey-dbsvc"
UNITS = ("rosey-dbsvc.service", "rosey-dbsvc-backup.service", "rosey-dbsvc-backup.timer")
ANALYZE = shutil.which("systemd-analyze")

needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


class Manager:
    """A service manager, with the notifications it received."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        self._socket.settimeout(30)
        self.heard: list[dict[str, str]] = []

    def hear(self, name: str) -> str:
        """Listen until it is told this; return its value."""
        while True:
            lines = self._socket.recv(4096).decode().splitlines()
            self.heard.append(dict(line.split("=", 1) for line in lines))
            if name in self.heard[-1]:
                return self.heard[-1][name]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    abstract = request.param == "abstract"
    manager = Manager(f"@rosey-{uuid4().hex}" if abstract else str(tmp_path / "notify"))
    yield manager
    manager.close()


def test_it_says_when_it_serves_and_when_it_stops(
    own_server: NatsServer, path: Path, manager: Manager
) -> None:
    arguments = ("--nats-url", own_server.url, "--db-path", path)
    with running(*arguments, NOTIFY_SOCKET=manager.name) as process:
        assert manager.hear("READY") == "1"
        assert run("ping", "--nats-url", own_server.url).returncode == 0
        status = manager.heard[-1]["STATUS"]
        assert status.startswith("connected to NATS, 0 events applied, 0 rejected, 0 pending")
        assert process.stop() == 0
        assert manager.hear("STOPPING") == "1"
    assert not any("WATCHDOG" in heard for heard in manager.heard)
    assert sum("READY" in heard for heard in manager.heard) == 1


def test_it_is_not_ready_while_the_server_is_away(
    own_server: NatsServer, path: Path, manager: Manager
) -> None:
    own_server.kill()
    arguments = ("--nats-url", own_server.url, "--db-path", path)
    with running(*arguments, NOTIFY_SOCKET=manager.name) as process:
        process.wait_for("waiting for NATS")
        assert manager.hear("STATUS").startswith("waiting for NATS")
        assert "READY" not in manager.heard[-1]
        own_server.start()
        manager.hear("READY")
        assert process.stop() == 0


def test_the_watchdog_is_told_in_time(own_server: NatsServer, path: Path, manager: Manager) -> None:
    arguments = ("--nats-url", own_server.url, "--db-path", path)
    asked = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "20000"}
    with running(*arguments, **asked) as process:
        assert {manager.hear("WATCHDOG") for _ in range(50)} == {"1"}
        assert process.stop() == 0


def test_the_watchdog_of_another_process_is_not_told(
    own_server: NatsServer, path: Path, manager: Manager
) -> None:
    arguments = ("--nats-url", own_server.url, "--db-path", path)
    asked = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    with running(*arguments, **asked) as process:
        process.wait_for(SERVING)
        assert process.stop() == 0
        manager.hear("STOPPING")
    assert not any("WATCHDOG" in heard for heard in manager.heard)


def test_a_manager_that_is_gone_is_said_once(own_server: NatsServer, path: Path) -> None:
    arguments = ("--nats-url", own_server.url, "--db-path", path)
    with running(*arguments, NOTIFY_SOCKET=f"{path}.nobody") as process:
        process.wait_for(SERVING)
        assert process.stop() == 0
    assert process.said.count("cannot notify systemd: No such file") == 1


def test_what_the_manager_could_not_be_told_it_is_told_the_next_time(tmp_path: Path) -> None:
    name = str(tmp_path / "late")
    service = systemd.Notifier({"NOTIFY_SOCKET": name})
    service.notify(READY=1, STATUS="early")
    manager = Manager(name)
    service.notify(STATUS="late")
    service.notify(STATUS="later")
    manager.hear("STATUS")
    manager.hear("STATUS")
    assert manager.heard == [{"READY": "1", "STATUS": "late"}, {"STATUS": "later"}]
    manager.close()


@pytest.mark.parametrize(
    "odd", [{"NOTIFY_SOCKET": "x" * 200}, {"WATCHDOG_USEC": "9" * 400}, {"WATCHDOG_USEC": "x"}]
)
def test_what_makes_no_sense_is_no_reason_not_to_serve(
    own_server: NatsServer, path: Path, odd: dict[str, str]
) -> None:
    arguments = ("--nats-url", own_server.url, "--db-path", path)
    with running(*arguments, **{"NOTIFY_SOCKET": f"{path}.nobody"} | odd) as process:
        process.wait_for(SERVING)
        assert process.stop() == 0
    assert "Traceback" not in process.said


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units, with the command where it is installed for the tests."""
    command = Path(sysconfig.get_path("scripts")) / "rosey-dbsvc"
    made = [tmp_path / name for name in UNITS]
    for unit in made:
        text = (DEPLOY / unit.name).read_text(encoding="utf-8")
        unit.write_text(text.replace(INSTALLED, str(command)), encoding="utf-8")
    return made


def analyze(*arguments: object, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ANALYZE), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{path}:"},
    )


@needs_systemd
def test_systemd_takes_the_units_as_they_are(units: list[Path], tmp_path: Path) -> None:
    verified = analyze("verify", "--man=no", *units, path=tmp_path)
    ours = [line for line in verified.stderr.splitlines() if "rosey-dbsvc" in line]
    assert (verified.returncode, ours) == (0, [])


@needs_systemd
def test_a_mistake_in_a_unit_would_be_seen(units: list[Path], tmp_path: Path) -> None:
    units[0].write_text(units[0].read_text().replace("ExecStart=", "ExecStart=/nowhere"))
    assert analyze("verify", "--man=no", units[0], path=tmp_path).returncode != 0


OPEN = {
    "PrivateNetwork=",
    "RestrictAddressFamilies=~AF_(INET|INET6)",
    "RestrictAddressFamilies=~AF_UNIX",
    "IPAddressDeny=",
    "RootDirectory=/RootImage=",
    "PrivateMounts=",
    "DeviceAllow=",
    "ProcSubset=",
}
"""Settings that the service needs, or that another setting implies."""


@needs_systemd
def test_what_systemd_leaves_open_is_known(units: list[Path], tmp_path: Path) -> None:
    for unit in units[:2]:
        rated = analyze("security", "--offline=yes", "--json=short", unit, path=tmp_path)
        found = {each["name"] for each in json.loads(rated.stdout) if each["set"] is False}
        assert found <= OPEN


def test_the_units_keep_what_is_the_service_s_to_it() -> None:
    for unit in UNITS[:2]:
        says = (DEPLOY / unit).read_text(encoding="utf-8").splitlines()
        assert {"ProtectSystem=strict", "DynamicUser=yes", "StateDirectoryMode=0700"} <= {*says}
