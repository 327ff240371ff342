"""The numbers of running services, as people read them."""

from datetime import UTC, datetime
from typing import Any, Final

import anyio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rosey_dbsvc.monitoring.finder import Finder, Service
from rosey_dbsvc.operations.codec import shorten

MOST_SHOWN: Final = 1000
"""How many characters of a caption: an answer may be a stranger's."""
LATEST: Final = 253_402_300_799
"""The end of what a date can say, in Unix seconds."""
EVERY: Final = 1.0
"""How often the live view is renewed, in seconds."""

HEADINGS: Final = ("operation", "requests", "a second", "errors", "average", "last error")

Seen = dict[tuple[str, str], int]


def show(services: list[Service], seen: Seen | None = None) -> RenderableType:
    """Return a table for each service; with rates, if it is given what was seen a while before."""
    if not services:
        return Text("no service answers")
    return Group(*(_show(service, seen) for service in services), *_remarks(services))


def _remarks(services: list[Service]) -> list[Text]:
    cores = sum(service["metadata"].get("mode") == "core" for service in services)
    if cores < 2:  # noqa: PLR2004  two are one too many
        return []
    remark = (
        f"{cores} services in core mode: each applies all that is told, and any of them answers"
    )
    return [Text(remark, "bold red")]


def _show(service: Service, seen: Seen | None) -> RenderableType:
    metadata, data = service["metadata"], service["endpoints"][0]["data"]
    title = f"{service['name']} {service['version']}: {', '.join(metadata.values())}"
    table = Table(
        *HEADINGS,
        title=Text(shorten(title)),
        caption=Text(shorten(_caption(data), MOST_SHOWN)),
        title_justify="left",
    )
    for column in table.columns[1:5]:
        column.justify = "right"
    for endpoint in service["endpoints"]:
        before = None if seen is None else seen.get((service["id"], endpoint["name"]))
        table.add_row(*(Text(shorten(cell)) for cell in _cells(endpoint, before)))
    return table


def _cells(endpoint: dict[str, Any], before: int | None) -> list[str]:
    requests = endpoint["num_requests"]
    return [
        endpoint["name"],
        f"{requests:,}",
        "" if before is None else f"{(requests - before) / EVERY:,.0f}",
        f"{endpoint['num_errors']:,}",
        f"{endpoint['average_processing_time'] / 1000:,.0f} µs" if requests else "",
        endpoint["last_error"],
    ]


def _caption(data: dict[str, Any]) -> str:
    counts = [f"{data[name]:,} {name}" for name in data if name != "last_commit"]
    return ", ".join([*counts, f"last commit {_when(data.get('last_commit', 0))}"])


def _when(at: float) -> str:
    if not at:
        return "never"
    return datetime.fromtimestamp(min(at, LATEST), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def print_once(services: list[Service]) -> None:
    """Print the tables."""
    Console().print(show(services))


async def watch(finder: Finder) -> None:
    """Show the tables, with rates, until cancelled."""
    seen: Seen | None = None
    with Live(console=Console(), screen=False, auto_refresh=False) as live:
        while True:
            services = await finder.ask("STATS")
            live.update(show(services, seen), refresh=True)
            seen = {
                (service["id"], endpoint["name"]): endpoint["num_requests"]
                for service in services
                for endpoint in service["endpoints"]
            }
            await anyio.sleep(EVERY)
