"""The client: what a bot calls in place of a BotDatabase."""

from rosey_dbsvc.client.client import DatabaseClient

__all__ = ["DatabaseClient"]
