"""The database of a chat bot as a service: events from NATS into SQLite, in order."""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rosey_dbsvc.client import DatabaseClient
    from rosey_dbsvc.counters import Counts
    from rosey_dbsvc.credentials import Credentials
    from rosey_dbsvc.errors import DbsvcError
    from rosey_dbsvc.operations.chat import ChatLine
    from rosey_dbsvc.operations.outbound import OutboundMessage
    from rosey_dbsvc.service.service import DatabaseService
    from rosey_dbsvc.settings import Durable, Settings
    from rosey_dbsvc.storage.opening import adopt
    from rosey_dbsvc.storage.sqlite import BotDatabase

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

MODULES: Final = {
    "BotDatabase": "storage.sqlite",
    "ChatLine": "operations.chat",
    "Counts": "counters",
    "Credentials": "credentials",
    "DatabaseClient": "client",
    "DatabaseService": "service.service",
    "DbsvcError": "errors",
    "Durable": "settings",
    "OutboundMessage": "operations.outbound",
    "Settings": "settings",
    "adopt": "storage.opening",
}


def __getattr__(name: str) -> object:
    # Imported at the first use: `--help` need not wait for nats-py.
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{MODULES[name]}"), name)
