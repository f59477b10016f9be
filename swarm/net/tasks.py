"""Small helpers around asyncio's structured tasks."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def all_of(*works: Coroutine[Any, Any, None]) -> None:
    """Runs all at once until all are done; the first error cancels the rest and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Runs all at once until one is done; then cancels the rest. An error in any is raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Signal:
    """Wakes everyone who waits whenever something changed; never stays set.

    Waiting begins when `wait` is called, not when its result first runs as a task: what fires between the two is seen.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def fire(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    def wait(self) -> Coroutine[Any, Any, None]:
        return _until_set(self._event)

    def wait_within(self, seconds: float) -> Coroutine[Any, Any, bool]:
        """False if nothing changed in time."""
        return _set_within(self._event, seconds)


async def _until_set(event: asyncio.Event) -> None:
    await event.wait()


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            await event.wait()
    except TimeoutError:
        return False
    return True
