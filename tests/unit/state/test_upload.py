"""Giving beside a round: freely before and after it, a tenth of the link during its data phase."""

import asyncio

import pytest

from swarm import events
from swarm.clock import monotonic_s
from swarm.net.memory import run_virtual
from swarm.state.upload import SHARE, Upload, free_upload

MB = 1_000_000
ROSTER = events.RosterReady(round=3, attempt=1, leader="a", peers=("a", "b"), form_s=0.1)
ABORTED = events.RoundAborted(round=3, attempt=1, reason="none")
COMMITTED = events.RoundCommitted(
    round=3, attempt=1, peers=(), contributors=(), voters=2, state_digest="00", seconds=1.0
)
ENDS = (COMMITTED, ABORTED, events.RoundInDoubt(round=3, attempt=1))


async def seconds_for(upload: Upload, pieces: int) -> float:
    began_s = monotonic_s()
    for _ in range(pieces):
        await upload.turn(MB)
    return monotonic_s() - began_s


def test_between_data_phases_nothing_waits() -> None:
    async def main() -> None:
        upload = Upload(lambda: 8 * MB)
        assert await seconds_for(upload, 100) == 0
        upload.see(events.AttemptStarted(round=3, attempt=1, leader="a"))
        assert await seconds_for(upload, 100) == 0
        assert await seconds_for(free_upload(), 100) == 0

    run_virtual(main())


@pytest.mark.parametrize("newcomers", [1, 4])
def test_in_a_data_phase_a_share_of_the_measured_link_goes_to_all_newcomers_together(newcomers: int) -> None:
    async def main() -> None:
        upload = Upload(lambda: 80 * MB)
        upload.see(ROSTER)
        began_s = monotonic_s()
        await asyncio.gather(*(seconds_for(upload, 10) for _ in range(newcomers)))
        assert monotonic_s() - began_s == pytest.approx(newcomers * 10 / (SHARE * 10), rel=0.01)

    run_virtual(main())


@pytest.mark.parametrize("end", ENDS, ids=lambda event: type(event).__name__)
def test_what_waits_goes_as_soon_as_the_round_ends(end: events.AnyEvent) -> None:
    async def main() -> None:
        upload = Upload(lambda: 8)
        upload.see(ROSTER)
        waiting = asyncio.create_task(seconds_for(upload, 3))
        await asyncio.sleep(7.0)
        assert not waiting.done()
        upload.see(events.Reduced(round=3, attempt=1, chunks=1, reduce_s=1.0))  # others may still be taking theirs
        await asyncio.sleep(1.0)
        assert not waiting.done()
        upload.see(end)
        assert await waiting == pytest.approx(8.0)

    run_virtual(main())


def test_an_unmeasured_link_still_gives_something() -> None:
    async def main() -> None:
        upload = Upload(lambda: 0)
        upload.see(ROSTER)
        assert 0 < await seconds_for(upload, 1) < 30

    run_virtual(main())


def test_who_goes_away_while_it_waits_is_not_waited_for() -> None:
    async def main() -> None:
        upload = Upload(lambda: 80 * MB)  # a piece a second
        upload.see(ROSTER)
        for _ in range(50):
            waiting = asyncio.create_task(seconds_for(upload, 1))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        assert await seconds_for(upload, 1) == pytest.approx(1.0)

    run_virtual(main())
