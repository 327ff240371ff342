"""The database of a chat bot as a service of its own: events from NATS into SQLite, in order."""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rosey_dbsvc.client import DatabaseClient
    from rosey_dbsvc.contract import ChatLine, OutboundMessage
    from rosey_dbsvc.counts import Counts
    from rosey_dbsvc.credentials import Credentials
    from rosey_dbsvc.database import BotDatabase
    from rosey_dbsvc.errors import DbsvcError
    from rosey_dbsvc.service import DatabaseService
    from rosey_dbsvc.settings import Durable, Settings
    from rosey_dbsvc.storage import adopt

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
    "BotDatabase": "database",
    "ChatLine": "contract",
    "Counts": "counts",
    "Credentials": "credentials",
    "DatabaseClient": "client",
    "DatabaseService": "service",
    "DbsvcError": "errors",
    "Durable": "settings",
    "OutboundMessage": "contract",
    "Settings": "settings",
    "adopt": "storage",
}


def __getattr__(name: str) -> object:
    # Imported when first used: the command line need not wait for NATS to print its help.
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
