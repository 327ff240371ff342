"""NATS credentials and TLS files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from rosey_dbsvc.errors import InvalidSettings

if TYPE_CHECKING:
    from ssl import SSLContext

CREDS_MARKS: Final = ("BEGIN NATS USER JWT", "BEGIN USER NKEY SEED")
"""Headers of a credentials file. nats-py never returns if the first one is missing."""


class Credentials(Struct, frozen=True, kw_only=True):
    """NATS credentials and TLS files. The repr shows no secrets. Raises InvalidSettings."""

    user: str = ""
    """User name; needs `password`."""
    password: str = ""
    token: str = ""
    """Token, in place of user and password."""
    creds: str = ""
    """Credentials file of `nsc`: a JWT and the seed of its key."""
    nkey: str = ""
    """File with the seed of an NKey."""
    ca: str = ""
    """File with the CA certificates to trust, in place of the system's."""
    cert: str = ""
    """File with the client certificate."""
    key: str = ""
    """File with the private key of the client certificate."""

    def __post_init__(self) -> None:
        methods = [f"`{name}`" for name, value in self._methods() if value]
        if len(methods) > 1:
            raise InvalidSettings(f"give only one of {' and '.join(methods)}")
        if bool(self.user) != bool(self.password):
            raise InvalidSettings("`user` and `password` go together")
        if bool(self.cert) != bool(self.key):
            raise InvalidSettings("`cert` and `key` go together")

    def _methods(self) -> list[tuple[str, str]]:
        return [(name, getattr(self, name)) for name in ("user", "token", "creds", "nkey")]

    def __repr__(self) -> str:
        return f"Credentials({', '.join(name for name, value in self._methods() if value)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, "…") for name, value in self._methods() if value]

    @property
    def are_given(self) -> bool:
        """Whether there are any; if not, those in the URL are used."""
        return any(value for _, value in self._methods())

    @property
    def need_tls(self) -> bool:
        """Whether the connection must use TLS."""
        return bool(self.ca or self.cert)

    def options(self) -> dict[str, Any]:
        """Return the options for nats-py's `connect`. Raises InvalidSettings for a bad file."""
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
        if self.need_tls:
            options["tls"] = self._tls_context()
        return options

    def secret(self) -> str:
        """Return the text of the credentials file, after a check of it or of the NKey's file."""
        if self.creds:
            return _read_creds(self.creds)
        if self.nkey:
            _check_seed("nkey", self.nkey, _read("nkey", self.nkey))
        return ""

    def _tls_context(self) -> "SSLContext":
        import ssl  # slow to import, and not needed to print help

        try:
            context = ssl.create_default_context(cafile=self.ca or None)
        except OSError as error:
            raise InvalidSettings(f"`ca`: {self.ca}: {_reason(error)}") from None
        if self.cert:
            try:
                context.load_cert_chain(self.cert, self.key)
            except OSError as error:
                raise InvalidSettings(
                    f"`cert`: {self.cert} with `key` {self.key}: {_reason(error)}"
                ) from None
        return context


NO_CREDENTIALS: Final = Credentials()


def _read_creds(path: str) -> str:
    text = _read("creds", path)
    if not all(mark in text for mark in CREDS_MARKS):
        raise InvalidSettings(f"`creds`: {path}: not a credentials file of nsc (no JWT and seed)")
    seed = text.partition(CREDS_MARKS[1])[2].splitlines()[1:2]
    _check_seed("creds", path, "".join(seed))
    return text


def _check_seed(field: str, path: str, seed: str) -> None:
    import nkeys

    try:
        nkeys.from_seed(bytearray(seed.strip().encode())).wipe()
    except Exception:  # noqa: BLE001  the message might show the seed
        raise InvalidSettings(f"`{field}`: {path}: the file has no valid seed") from None


def _read(field: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidSettings(f"`{field}`: {path}: {_reason(error)}") from None
    except UnicodeDecodeError:
        raise InvalidSettings(f"`{field}`: {path}: not a text file") from None


def _reason(error: OSError) -> str:
    if type(error).__module__ == "ssl":
        return "not PEM, or certificate and key do not belong together"
    return error.strerror or str(error)
