"""API tokens."""

import logging
import secrets
from typing import Any, Final

from rosey_dbsvc.storage.sqlite.base import Base

logger = logging.getLogger(__name__)

SHOWN: Final = 8  # characters of a token that are shown, and that are enough to revoke it


class Tokens(Base):
    """The table `api_tokens`."""

    def generate_api_token(self, description: str = "") -> str:
        """Create a token and return it, the only time that it is shown."""
        token = secrets.token_urlsafe(32)
        with self.atomic():
            self.conn.execute(
                "INSERT INTO api_tokens (token, description, created_at) VALUES (?, ?, ?)",
                (token, description, self._now()),
            )
        logger.info("Generated new API token: %s...", token[:SHOWN])
        return token

    def validate_api_token(self, token: str) -> bool:
        """Return whether the token is valid, and set its time of last use."""
        with self.atomic():
            used = self.conn.execute(
                "UPDATE api_tokens SET last_used = ? WHERE token = ? AND revoked = 0",
                (self._now(), token),
            )
        return used.rowcount > 0

    def revoke_api_token(self, token: str) -> int:
        """Revoke a token, or all with this prefix of at least 8 characters; return how many."""
        matched = "substr(token, 1, length(:token))" if len(token) >= SHOWN else "token"
        with self.atomic():
            revoked = self.conn.execute(
                f"UPDATE api_tokens SET revoked = 1 WHERE {matched} = :token AND revoked = 0",  # noqa: S608  one of two words of ours
                {"token": token},
            ).rowcount
        if revoked:
            logger.info("Revoked %d API token(s)", revoked)
        return revoked

    def list_api_tokens(self, include_revoked: bool = False) -> list[dict[str, Any]]:
        """Return the tokens, newest first, each as a preview."""
        return self._rows(
            "SELECT description, created_at, last_used, revoked,"
            " substr(token, 1, ?) || '...' AS token_preview"
            " FROM api_tokens WHERE revoked <= ? ORDER BY created_at DESC, rowid DESC",
            SHOWN,
            int(include_revoked),
        )
