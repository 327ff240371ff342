"""Work that is given up when something else comes first."""

from collections.abc import Awaitable, Callable

import anyio
from anyio import Event


async def unless(event: Event, work: Callable[[], Awaitable[object]]) -> None:
    """Do the work, and come back when it is done or, after cancelling it, when the event comes."""

    async def give_up() -> None:
        await event.wait()
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(give_up, name="unless")
        await work()
        tasks.cancel_scope.cancel()
