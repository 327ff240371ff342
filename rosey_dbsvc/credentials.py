"""Who the service is to a NATS server, and how it knows that server."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from rosey_dbsvc.errors import InvalidSettings

if TYPE_CHECKING:
    from ssl import SSLContext

MARKS: Final = ("BEGIN NATS USER JWT", "BEGIN USER NKEY SEED")
"""What a file of credentials has. nats-py looks for the first one for ever."""


class Credentials(Struct, frozen=True, kw_only=True):
    """How to be let in, and what to trust. It never shows what opens the door.

    Raises InvalidSettings, naming the flag.
    """

    user: str = ""
    """Goes with a password."""
    password: str = ""
    token: str = ""
    """In place of both."""
    creds: str = ""
    """A file with a JWT and the seed of its key, as `nsc` makes it."""
    nkey: str = ""
    """A file with the seed of a key."""
    ca: str = ""
    """A file with the certificates that a server's is to be signed by, in place of the system's."""
    cert: str = ""
    """A file with a certificate of our own."""
    key: str = ""
    """A file with the key of that certificate."""

    def __post_init__(self) -> None:
        ways = [flag for flag, value in self._ways() if value]
        if len(ways) > 1:
            raise InvalidSettings(f"of {' and '.join(ways)}, one is enough: which is it?")
        if bool(self.user) != bool(self.password):
            raise InvalidSettings("--nats-user and --nats-password go together")
        if bool(self.cert) != bool(self.key):
            raise InvalidSettings("--tls-cert and --tls-key go together")

    def _ways(self) -> list[tuple[str, str]]:
        return [
            ("--nats-user", self.user),
            ("--nats-token", self.token),
            ("--nats-creds", self.creds),
            ("--nats-nkey", self.nkey),
        ]

    def __repr__(self) -> str:
        return f"Credentials({', '.join(flag for flag, value in self._ways() if value)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(flag, "…") for flag, value in self._ways() if value]

    @property
    def are_given(self) -> bool:
        """Whether there are any, or those in a URL are to be used."""
        return any(value for _, value in self._ways())

    @property
    def secures(self) -> bool:
        """Whether they ask for TLS."""
        return bool(self.ca or self.cert)

    def options(self) -> dict[str, Any]:
        """Return what nats-py is to be given, after a look into each file.

        Raises InvalidSettings.
        """
        options: dict[str, Any] = {}
        if self.user:
            options |= {"user": self.user, "password": self.password}
        if self.token:
            options["token"] = self.token
        if self.creds:
            from nats.aio.client import RawCredentials

            options["user_credentials"] = RawCredentials(self.secret())
        if self.nkey:
            self.secret()
            options["nkeys_seed"] = self.nkey
        if self.secures:
            options["tls"] = self._context()
        return options

    def secret(self) -> str:
        """Return what is in the file of credentials or of the key. Raises InvalidSettings."""
        if self.creds:
            return _read_creds(self.creds)
        if self.nkey:
            _check_seed("--nats-nkey", self.nkey, _read("--nats-nkey", self.nkey))
        return ""

    def _context(self) -> "SSLContext":
        import ssl  # slow to import, and not needed to print help

        try:
            context = ssl.create_default_context(cafile=self.ca or None)
        except OSError as error:
            raise InvalidSettings(f"--tls-ca {self.ca}: {_why(error)}") from None
        if self.cert:
            try:
                context.load_cert_chain(self.cert, self.key)
            except OSError as error:
                raise InvalidSettings(
                    f"--tls-cert {self.cert} with --tls-key {self.key}: {_why(error)}"
                ) from None
        return context


def _read_creds(path: str) -> str:
    text = _read("--nats-creds", path)
    if not all(mark in text for mark in MARKS):
        raise InvalidSettings(
            f"--nats-creds {path}: it has no user JWT and seed, as nsc makes them"
        )
    seed = text.partition(MARKS[1])[2].splitlines()[1:2]
    _check_seed("--nats-creds", path, "".join(seed))
    return text


def _check_seed(flag: str, path: str, seed: str) -> None:
    import nkeys

    try:
        nkeys.from_seed(bytearray(seed.strip().encode())).wipe()
    except Exception:  # noqa: BLE001  of what it says nothing is to be shown
        raise InvalidSettings(f"{flag} {path}: it has no seed of a key") from None


def _read(flag: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidSettings(f"{flag} {path}: {_why(error)}") from None
    except UnicodeDecodeError:
        raise InvalidSettings(f"{flag} {path}: it is not text") from None


def _why(error: OSError) -> str:
    if type(error).__module__ == "ssl":
        return "no certificates or key in PEM form, or they do not belong together"
    return error.strerror or str(error)
