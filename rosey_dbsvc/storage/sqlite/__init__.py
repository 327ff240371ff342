"""Our own database: a drop-in for Rosey v0.5.0's BotDatabase, and its storage."""

from rosey_dbsvc.storage.sqlite.bot_database import BotDatabase

__all__ = ["BotDatabase"]
