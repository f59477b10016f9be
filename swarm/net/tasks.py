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
    """Wakes everyone who waits whenever something changed; never stays set."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def fire(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        await self._event.wait()

    async def wait_within(self, seconds: float) -> bool:
        """False if nothing changed in time."""
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await self._event.wait()
        except TimeoutError:
            return False
        return True
