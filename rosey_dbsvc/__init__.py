"""The database of a chat bot as a service of its own: events from NATS into SQLite, in order."""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rosey_dbsvc.client.client import DatabaseClient
    from rosey_dbsvc.counters import Counts
    from rosey_dbsvc.credentials import Credentials
    from rosey_dbsvc.errors import DbsvcError
    from rosey_dbsvc.operations.base import ChatLine, OutboundMessage
    from rosey_dbsvc.service.service import DatabaseService
    from rosey_dbsvc.settings import Durable, Settings
    from rosey_dbsvc.storage.sqlite import BotDatabase
    from rosey_dbsvc.storage.storage import adopt

__all__ = [
    "BotDatabase",
    "ChatLine",
    "Counts",
    "Credentials",
    "DatabaseClient",
    "DatabaseService",
    "DbsvcError",
    "Durable",
    "OutboundMessage",
    "Settings",
    "adopt",
]

HOMES: Final = {
    "BotDatabase": "storage.sqlite",
    "ChatLine": "operations.base",
    "Counts": "counters",
    "Credentials": "credentials",
    "DatabaseClient": "client.client",
    "DatabaseService": "service.service",
    "DbsvcError": "errors",
    "Durable": "settings",
    "OutboundMessage": "operations.base",
    "Settings": "settings",
    "adopt": "storage.storage",
}


def __getattr__(name: str) -> object:
    # Imported when first used: the command line need not wait for NATS to print its help.
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
