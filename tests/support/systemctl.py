"""Stand-in for systemctl on machines without systemd: runs units, without their sandbox.

The directory in ROOT holds everything: units in etc/systemd/system, state in var/lib and run.
"""

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(os.environ.get("ROOT", "/nowhere"))
UNITS, STATE, RUN = ROOT / "etc/systemd/system", ROOT / "var/lib", ROOT / "run"


class Unit:
    """A unit file."""

    def __init__(self, name: str) -> None:
        self.name = name if "." in name else f"{name}.service"
        self.is_service = self.name.endswith(".service")
        self.pid_file = RUN / f"{self.name}.pid"
        self._says: dict[str, list[str]] = defaultdict(list)
        for line in (UNITS / self.name).read_text().splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                self._says[key].append(value.replace("%S", str(STATE)).replace("%%", "%"))

    def command(self) -> list[str]:
        return shlex.split(self._says["ExecStart"][-1])

    def environment(self) -> dict[str, str]:
        files = [Path(name.removeprefix("-")) for name in self._says["EnvironmentFile"]]
        lines = [*self._says["Environment"]]
        lines += [line for file in files if file.exists() for line in file.read_text().splitlines()]
        given = dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")
        return {"PATH": os.environ["PATH"], "NO_COLOR": "1"} | given

    def start(self) -> None:
        for folder in shlex.split(" ".join(self._says["StateDirectory"])):
            (STATE / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._says["Type"] == ["oneshot"]:
            subprocess.run(self.command(), env=self.environment(), check=True)
        elif self.is_service:
            self._start_and_wait()

    def _start_and_wait(self) -> None:
        notify = RUN / f"{self.name}.notify"
        notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(notify))
            manager.settimeout(30)
            with (RUN / f"{self.name}.log").open("a") as log:
                process = subprocess.Popen(
                    self.command(),
                    env=self.environment() | {"NOTIFY_SOCKET": str(notify)},
                    cwd=self._says["WorkingDirectory"][-1],
                    stdin=subprocess.DEVNULL,
                    stdout=log,  # not of the caller, which would wait for its end
                    stderr=log,
                    start_new_session=True,
                )
            self.pid_file.write_text(str(process.pid))
            while b"READY=1" not in manager.recv(4096):
                pass

    def stop(self) -> None:
        if self.pid_file.exists():
            pid = int(self.pid_file.read_text())
            os.kill(pid, signal.SIGTERM)
            subprocess.run(["tail", f"--pid={pid}", "-f", "/dev/null"], check=True)
            self.pid_file.unlink()


def main(verb: str, *arguments: str) -> None:
    RUN.mkdir(exist_ok=True)
    units = [Unit(name) for name in arguments if not name.startswith("--")]
    for unit in units:
        if verb in {"stop", "restart"}:
            unit.stop()
        if verb in {"start", "restart"} or (verb == "enable" and "--now" in arguments):
            unit.start()
        if verb == "status":
            print("active" if unit.pid_file.exists() else "inactive")


if __name__ == "__main__":
    main(*sys.argv[1:])
