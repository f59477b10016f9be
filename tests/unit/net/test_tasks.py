"""The task helpers: nobody waits for what has happened already, and no task outlives the call that made it."""

import asyncio

import pytest

from swarm.net.memory import run_virtual
from swarm.net.tasks import Signal, all_of, first_of


def test_a_signal_that_fires_before_the_waiting_task_has_run_is_not_missed() -> None:
    async def main() -> None:
        signal = Signal()
        waiting = asyncio.create_task(signal.wait())
        within = asyncio.create_task(signal.wait_within(5.0))
        signal.fire()
        async with asyncio.timeout(1):
            await waiting
        assert await within

    run_virtual(main())


def test_a_signal_wakes_everyone_once_and_does_not_stay_set() -> None:
    async def main() -> None:
        signal = Signal()
        waiting = [asyncio.create_task(signal.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        signal.fire()
        await asyncio.gather(*waiting)
        assert not await signal.wait_within(5.0)
        assert not await signal.wait_within(-1.0)

    run_virtual(main())


def test_first_of_ends_the_others() -> None:
    async def main() -> None:
        ended: list[str] = []

        async def slow() -> None:
            try:
                await asyncio.sleep(100)
            finally:
                ended.append("slow")

        await first_of(slow(), asyncio.sleep(1))
        assert ended == ["slow"] and asyncio.get_running_loop().time() < 2

    run_virtual(main())


async def fail_after(seconds: float) -> None:
    await asyncio.sleep(seconds)
    raise KeyError(seconds)


def test_errors_come_out_as_themselves() -> None:
    async def main() -> None:
        with pytest.raises(KeyError, match=r"1\.0"):
            await first_of(asyncio.sleep(5), fail_after(1.0))
        with pytest.raises(KeyError, match=r"1\.0"):
            await all_of(asyncio.sleep(5), fail_after(1.0), fail_after(2.0))
        assert asyncio.get_running_loop().time() == pytest.approx(2.0)

    run_virtual(main())


@pytest.mark.parametrize("together", [all_of, first_of])
def test_cancelling_cancels_all(together) -> None:
    async def main() -> None:
        ended: list[int] = []

        async def work(number: int) -> None:
            try:
                await asyncio.sleep(100)
            finally:
                ended.append(number)

        task = asyncio.create_task(together(work(1), work(2)))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sorted(ended) == [1, 2]

    run_virtual(main())
