"""Tables of the statistics of running services."""

from datetime import UTC, datetime
from typing import Any, Final

import anyio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rosey_dbsvc._text import shorten
from rosey_dbsvc.monitoring.adr32 import Reply
from rosey_dbsvc.monitoring.finder import Finder

MAX_CAPTION: Final = 1000  # characters of a caption: a reply may be from an untrusted client
LAST_DATE: Final = 253_402_300_799  # last time that a date can show, in Unix seconds
INTERVAL: Final = 1.0  # time between two updates of the live view, in seconds
HEADINGS: Final = ("operation", "requests", "per second", "errors", "average", "last error")

Requests = dict[tuple[str, str], int]  # number of requests by service and operation


def show(services: list[Reply], before: Requests | None = None) -> RenderableType:
    """Return a table for each service, with rates if the numbers one interval ago are given."""
    if not services:
        return Text("no service replies")
    return Group(*(_table(service, before) for service in services), *_warnings(services))


def _warnings(services: list[Reply]) -> list[Text]:
    cores = sum(service["metadata"].get("mode") == "core" for service in services)
    if cores <= 1:
        return []
    warning = f"{cores} services in core mode: each applies all events, and any of them may reply"
    return [Text(warning, "bold red")]


def _table(service: Reply, before: Requests | None) -> RenderableType:
    metadata, data = service["metadata"], service["endpoints"][0]["data"]
    title = f"{service['name']} {service['version']}: {', '.join(metadata.values())}"
    table = Table(
        *HEADINGS,
        title=Text(shorten(title)),
        caption=Text(shorten(_caption(data), MAX_CAPTION)),
        title_justify="left",
    )
    for column in table.columns[1:5]:
        column.justify = "right"
    for endpoint in service["endpoints"]:
        key = (service["id"], endpoint["name"])
        count = None if before is None else before.get(key)
        table.add_row(*(Text(shorten(cell)) for cell in _cells(endpoint, count)))
    return table


def _cells(endpoint: dict[str, Any], before: int | None) -> list[str]:
    requests = endpoint["num_requests"]
    return [
        endpoint["name"],
        f"{requests:,}",
        "" if before is None else f"{(requests - before) / INTERVAL:,.0f}",
        f"{endpoint['num_errors']:,}",
        f"{endpoint['average_processing_time'] / 1000:,.0f} µs" if requests else "",
        endpoint["last_error"],
    ]


def _caption(data: dict[str, Any]) -> str:
    counts = [f"{data[name]:,} {name}" for name in data if name != "last_commit"]
    return ", ".join([*counts, f"last commit {_format_time(data.get('last_commit', 0))}"])


def _format_time(at: float) -> str:
    if not at:
        return "never"
    return datetime.fromtimestamp(min(at, LAST_DATE), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def print_once(services: list[Reply]) -> None:
    """Print the tables."""
    Console().print(show(services))


async def watch(finder: Finder) -> None:
    """Show the tables, with rates, until cancelled."""
    before: Requests | None = None
    console = Console()
    with Live(console=console, screen=False, auto_refresh=False) as live:
        while True:
            services = await finder.request("STATS")
            if console.is_terminal:
                live.update(show(services, before), refresh=True)
            else:  # Live would show only the last one
                console.print(show(services, before))
            before = {
                (service["id"], endpoint["name"]): endpoint["num_requests"]
                for service in services
                for endpoint in service["endpoints"]
            }
            await anyio.sleep(INTERVAL)
