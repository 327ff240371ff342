"""Each kind of credentials, right and wrong, with a server that requires it."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import anyio
import psutil
import pytest
from rich.pretty import pretty_repr
from support.keys import Certificates, Operator, key
from support.processes import SERVING, run, running
from support.servers import NatsServer, free_port, nats_server

from rosey_dbsvc import Counts, Credentials
from rosey_dbsvc.messaging.connection import close, connected
from rosey_dbsvc.settings import Settings

SECRET = "hunter2-of-the-channel"
WRONG = "not-the-secret-at-all"


class Way(NamedTuple):
    """Configuration of a server, with the right and the wrong environment for it."""

    config: str
    right: dict[str, str]
    wrong: dict[str, str]


def password(_: Path) -> Way:
    user = {"NATS_USER": "dbsvc"}
    return Way(
        f'authorization {{ user: dbsvc, password: "{SECRET}" }}',
        user | {"NATS_PASSWORD": SECRET},
        user | {"NATS_PASSWORD": WRONG},
    )


def token(_: Path) -> Way:
    config = f'authorization {{ token: "{SECRET}" }}'
    return Way(config, {"NATS_TOKEN": SECRET}, {"NATS_TOKEN": WRONG})


def nkey(folder: Path) -> Way:
    right, wrong = key("user"), key("user")
    files = {"right": right, "wrong": wrong}
    for name, made in files.items():
        (folder / name).write_text(f"{made.seed}\n")
    return Way(
        f"authorization {{ users: [ {{ nkey: {right.public} }} ] }}",
        {"NATS_NKEY": str(folder / "right")},
        {"NATS_NKEY": str(folder / "wrong")},
    )


def creds(folder: Path) -> Way:
    operator = Operator()
    (folder / "right").write_text(operator.user())
    (folder / "wrong").write_text(Operator().user())
    return Way(
        operator.config(),
        {"NATS_CREDS": str(folder / "right")},
        {"NATS_CREDS": str(folder / "wrong")},
    )


WAYS = pytest.mark.parametrize("way", [password, token, nkey, creds])


@contextmanager
def asking_for(folder: Path, config: str) -> Iterator[NatsServer]:
    file = folder / "nats.conf"
    file.write_text(config)
    with nats_server(config=file) as server:
        yield server


def settings(server: NatsServer, path: Path) -> tuple[object, ...]:
    return ("--nats-url", server.url, "--db-path", path, "--log-level", "debug")


@WAYS
def test_the_right_credentials_are_let_in_and_never_shown(
    way: Callable[[Path], Way], path: Path, tmp_path: Path
) -> None:
    made = way(tmp_path)
    with asking_for(tmp_path, made.config) as server:
        with running(*settings(server, path), **made.right) as process:
            process.wait_for(SERVING)
            shown = " ".join(psutil.Process(process.pid).cmdline())
            assert process.stop() == 0
        assert SECRET not in process.said + shown
        assert "Traceback" not in process.said


@WAYS
def test_the_wrong_credentials_are_one_line_and_never_shown(
    way: Callable[[Path], Way], path: Path, tmp_path: Path
) -> None:
    made = way(tmp_path)
    with asking_for(tmp_path, made.config) as server:
        for env in (made.wrong, {}):
            with running(*settings(server, path), **env) as process:
                assert process.wait() == 2
            (line,) = [line for line in process.lines if "CRITICAL" in line]
            assert "the server refuses the connection: " in line
            assert "authorization violation" in line.lower()
            assert WRONG not in process.said
            assert "Traceback" not in process.said


def test_a_flag_does_what_the_variable_does(path: Path, tmp_path: Path) -> None:
    made = password(tmp_path)
    with asking_for(tmp_path, made.config) as server:
        flags = ("--nats-user", "dbsvc", "--nats-password", SECRET)
        with running(*settings(server, path), *flags) as process:
            process.wait_for(SERVING)
            assert process.stop() == 0
        assert SECRET not in process.said


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def tls(certificates: Certificates, **more: object) -> str:
    cert, secret = certificates.server
    lines = {"cert_file": cert, "key_file": secret, "ca_file": certificates.ca, **more}
    settings = "\n".join(f'{name}: "{value}"' for name, value in lines.items())
    return f"tls {{ {settings} }}"


def test_a_server_is_trusted_by_its_authority(
    certificates: Certificates, path: Path, tmp_path: Path
) -> None:
    with asking_for(tmp_path, tls(certificates)) as server:
        env = {"NATS_CA": str(certificates.ca)}
        with running(*settings(server, path), **env) as process:
            process.wait_for(SERVING)
            assert process.stop() == 0
        with running(*settings(server, path)) as process:
            assert process.wait() == 2
        assert "CRITICAL TLS failed: " in process.said
        assert "Traceback" not in process.said


def test_a_server_that_asks_for_a_certificate_gets_ours(
    certificates: Certificates, path: Path, tmp_path: Path
) -> None:
    cert, secret = certificates.client
    with asking_for(tmp_path, tls(certificates, verify="true").replace('"true"', "true")) as server:
        flags = ("--tls-ca", certificates.ca, "--tls-cert", cert, "--tls-key", secret)
        with running(*settings(server, path), *flags) as process:
            process.wait_for(SERVING)
            assert process.stop() == 0
        with running(*settings(server, path), "--tls-ca", certificates.ca) as process:
            assert process.wait() == 2
        assert "CRITICAL TLS failed: " in process.said
        assert "certificate required" in process.said
        assert "Traceback" not in process.said


@pytest.mark.parametrize("how", ["url", "ca"])
def test_tls_is_insisted_on_before_a_secret_is_told(
    certificates: Certificates, path: Path, tmp_path: Path, how: str
) -> None:
    made = password(tmp_path)
    with asking_for(tmp_path, made.config) as server:
        url = server.url.replace("nats://", "tls://") if how == "url" else server.url
        env = made.right | ({"NATS_CA": str(certificates.ca)} if how == "ca" else {})
        with running("--nats-url", url, "--db-path", path, **env) as process:
            assert process.wait() == 2
        assert "TLS failed: " in process.said
        assert SECRET not in process.said


def test_a_password_in_a_url_is_never_shown(path: Path, tmp_path: Path) -> None:
    with asking_for(tmp_path, password(tmp_path).config) as server:
        for secret, code in ((SECRET, 0), (WRONG, 2)):
            url = server.url.replace("nats://", f"nats://dbsvc:{secret}@")
            with running("--nats-url", url, "--db-path", path) as process:
                if code == 0:
                    process.wait_for(SERVING)
                    assert process.stop() == 0
                else:
                    assert process.wait() == 2
            assert secret not in process.said


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--nats-user", "dbsvc"), "--nats-user and --nats-password go together"),
        (
            ("--nats-token", "t", "--nats-nkey", "f"),
            "one of --nats-token and --nats-nkey",
        ),
        (("--tls-cert", "c"), "--tls-cert and --tls-key go together"),
        (("--tls-ca", "nowhere"), "--tls-ca: nowhere: No such file or directory"),
        (("--nats-creds", "nowhere"), "--nats-creds: nowhere: No such file or directory"),
        (("--nats-nkey", os.devnull), f"--nats-nkey: {os.devnull}: the file has no valid seed"),
        (
            ("--nats-creds", os.devnull),
            f"--nats-creds: {os.devnull}: not a credentials file",
        ),
        (("--tls-ca", os.devnull), f"--tls-ca: {os.devnull}: not PEM"),
    ],
)
def test_credentials_that_cannot_be_used_are_one_line(
    flags: tuple[str, ...], said: str, path: Path
) -> None:
    refused = run("run", "--nats-url", "nats://127.0.0.1:1", "--db-path", path, *flags)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_replay_takes_the_same_flags(path: Path, tmp_path: Path) -> None:
    made = password(tmp_path)
    store = f'{made.config}\njetstream {{ store_dir: "{tmp_path / "js"}" }}'
    with asking_for(tmp_path, store) as server:
        with running(*settings(server, path), "--durable", **made.right) as process:
            process.wait_for(SERVING)
            assert process.stop() == 0
        user = ("--nats-user", "dbsvc", "--nats-password", SECRET)
        new = tmp_path / "new.db"
        replayed = run("replay", "--nats-url", server.url, "--db-path", new, *user)
        assert replayed.returncode == 0, replayed.stderr


def test_a_file_of_credentials_that_is_damaged_for_a_while_costs_no_more_than_that(
    path: Path, tmp_path: Path
) -> None:
    made = creds(tmp_path)
    file = tmp_path / "right"
    good = file.read_text()
    with asking_for(tmp_path, made.config) as server:
        with running(*settings(server, path), **made.right) as process:
            process.wait_for(SERVING)
            for damaged in ("", good.replace("JWT", "XXX"), good.replace("SEED-----\nSU", "")):
                server.kill()
                file.write_text(damaged)
                server.start()
                process.wait_for("not a credentials file of nsc|the file has no valid seed")
                file.write_text(good.replace("\n", "\r\n"))
                process.wait_for("reconnected to NATS")
            assert process.stop() == 0
        assert "Traceback" not in process.said


@contextmanager
def impostor(port: int) -> Iterator[list[bytes]]:
    """Pretend to be a server that does not encrypt, and remember what it is told."""
    heard: list[bytes] = []

    def listen(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.sendall(b'INFO {"server_id":"x","version":"2.15.1","headers":true}\r\n')
                connection.settimeout(2)
                with suppress(OSError):
                    while data := connection.recv(65536):
                        heard.append(data)
                connection.close()

    with closing(socket.create_server(("127.0.0.1", port))) as listener:
        thread = threading.Thread(target=listen, args=(listener,))
        thread.start()
        yield heard
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=10)


async def test_a_server_that_does_not_encrypt_any_more_is_told_nothing(
    certificates: Certificates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trusting = Credentials(ca=str(certificates.ca))
    with asking_for(tmp_path, tls(certificates)) as server:
        async with connected([server.url], Counts(), print, trusting) as nc:
            server.kill()
            while nc.is_connected:
                await anyio.sleep(0.01)
            await nc.publish("answer", b"what alice has said")
            with impostor(server.port) as heard:
                with anyio.fail_after(20):
                    while "TLS failed: the server does not offer TLS" not in caplog.text:
                        await anyio.sleep(0.01)
                await close(nc)
    assert heard == []


def test_a_password_in_a_url_may_have_any_character_if_it_is_written_so(
    path: Path, tmp_path: Path
) -> None:
    with asking_for(tmp_path, 'authorization { user: u, password: "a#b/c,d%e" }') as server:
        url = server.url.replace("nats://", "nats://u:a%23b%2Fc%2Cd%25e@")
        with running("--nats-url", url, "--db-path", path) as process:
            process.wait_for(SERVING)
            assert process.stop() == 0


@pytest.mark.cluster
def test_servers_that_are_found_on_the_way_get_the_credentials_of_the_url(path: Path) -> None:
    ports = [free_port(), free_port()]
    routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports)
    common = ("--user", "u", "--pass", SECRET, "--cluster_name", "c", "--routes", routes)
    first, other = (NatsServer("--cluster", f"nats://127.0.0.1:{port}", *common) for port in ports)
    try:
        first.start()
        other.start()
        url = first.url.replace("nats://", f"nats://u:{SECRET}@")
        with running("--nats-url", url, "--db-path", path) as process:
            process.wait_for(SERVING)
            first.kill()
            process.wait_for("reconnected to NATS")
            assert process.stop() == 0
        assert SECRET not in process.said
    finally:
        first.kill()
        other.kill()


def test_what_holds_secrets_shows_none() -> None:
    credentials = Credentials(user="u", password=SECRET)
    settings = Settings(nats_urls=(f"nats://u:{SECRET}@h",), credentials=credentials)
    for each in (credentials, settings):
        assert SECRET not in repr(each)
        assert SECRET not in pretty_repr(each)
