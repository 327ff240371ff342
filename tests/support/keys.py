"""Keys, certificates and JWTs for tests."""

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import nkeys
import trustme

JWT_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
PREFIXES = {"operator": nkeys.PREFIX_BYTE_OPERATOR, "account": nkeys.PREFIX_BYTE_ACCOUNT}


class Key(NamedTuple):
    public: str
    seed: str

    def sign(self, data: bytes) -> bytes:
        return bytes(nkeys.from_seed(bytearray(self.seed.encode())).sign(data))


def key(kind: str) -> Key:
    """Create a key of an operator, an account or a user."""
    prefix = PREFIXES.get(kind, nkeys.PREFIX_BYTE_USER)
    seed = bytes(nkeys.encode_seed(os.urandom(32), prefix=prefix)).decode()
    return Key(nkeys.from_seed(bytearray(seed.encode())).public_key.decode(), seed)


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def token(issuer: Key, subject: Key, name: str, **nats: Any) -> str:
    """Create a JWT as nsc does."""
    claims = {"jti": "", "iat": 1, "iss": issuer.public, "name": name, "sub": subject.public}
    claims["nats"] = {"version": 2, **nats}
    digest = hashlib.sha256(json.dumps(claims).encode()).digest()
    claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
    body = ".".join(encoded(json.dumps(part).encode()) for part in (JWT_HEADER, claims))
    return f"{body}.{encoded(issuer.sign(body.encode()))}"


def creds(jwt: str, user: Key) -> str:
    """Return the contents of a credentials file."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
    )


class Operator:
    """An operator with an account, for the configuration of a server."""

    def __init__(self) -> None:
        self.key, self.account = key("operator"), key("account")
        unlimited = ("subs", "data", "payload", "imports", "exports", "conn", "leaf")
        limits: dict[str, int | bool] = {**dict.fromkeys(unlimited, -1), "wildcards": True}
        self._operator = token(self.key, self.key, "O", type="operator")
        self._account = token(self.key, self.account, "A", type="account", limits=limits)

    def config(self) -> str:
        return (
            f"operator: {self._operator}\nresolver: MEMORY\n"
            f"resolver_preload: {{ {self.account.public}: {self._account} }}\n"
        )

    def user(self) -> str:
        """Return the contents of a credentials file for a new user."""
        user = key("user")
        limits = {"subs": -1, "data": -1, "payload": -1}
        return creds(token(self.account, user, "U", type="user", **limits), user)


class Certificates:
    """A certificate authority, with certificates for a local server and for a client."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        self.server = self._write(folder / "server", authority.issue_cert("127.0.0.1", "localhost"))
        self.client = self._write(folder / "client", authority.issue_cert("rosey@example.org"))

    def _write(self, stem: Path, made: trustme.LeafCert) -> tuple[Path, Path]:
        cert, secret = stem.with_suffix(".pem"), stem.with_suffix(".key")
        cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(secret))
        return cert, secret
