"""The shipped BotDatabase: SQLite, synchronous, and ignorant of NATS."""

from rosey_dbsvc.storage.sqlite.bot_database import BotDatabase

__all__ = ["BotDatabase"]
