"""What may go, goes."""

import logging
import sqlite3
from typing import Final

from rosey_dbsvc.storage.sqlite.base import Base
from rosey_dbsvc.storage.sqlite.retention import RULES, Retention, cleaned

logger = logging.getLogger(__name__)

UPKEEP: Final = ("VACUUM", "ANALYZE")


class Maintenance(Base):
    """Retention, and the upkeep of the file."""

    def retention(self, now: float) -> Retention:
        """Return what deletes, in steps, what is old at this time, in Unix seconds."""
        return Retention(lambda: self.conn, now)

    def perform_maintenance(self) -> list[str]:
        """Delete what is old and tidy up the file; return what was done, a line each."""
        try:
            done = self._delete_old()
            for upkeep in UPKEEP:
                self.conn.execute(upkeep)
                done.append(f"{upkeep} completed")
        except sqlite3.Error as error:
            logger.error("Database maintenance error: %s", error)  # noqa: TRY400  one line
            self.conn.rollback()
            raise
        logger.info("Database maintenance completed: %s", ", ".join(done))
        return done

    def _delete_old(self) -> list[str]:
        now = self._now()
        with self.conn:
            return cleaned(
                {
                    rule.what: self.conn.execute(
                        f"DELETE FROM {rule.table} WHERE {rule.condition}",  # noqa: S608  ours
                        {"before": rule.before(now)},
                    ).rowcount
                    for rule in RULES
                }
            )
