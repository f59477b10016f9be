"""Lanes that are kept level: who waits for whom, for how long, and at which rate."""

import asyncio
from dataclasses import dataclass, field

import pytest

from swarm.clock import monotonic_s
from swarm.net.memory import run_virtual
from swarm.round.pace import Pace, PacedLane


@dataclass
class Link:
    """Remembers the limits it was given."""

    limits: list[int | None] = field(default_factory=list[int | None])

    def limit_rate(self, bytes_per_s: int | None) -> None:
        self.limits.append(bytes_per_s)


async def send_all(lane: PacedLane, chunks: int, chunk_s: float, ends: list[float]) -> None:
    for _ in range(chunks):
        await lane.turn()
        await asyncio.sleep(chunk_s)
        lane.sent()
    ends.append(monotonic_s())


def test_a_fast_lane_waits_for_a_slow_one_and_both_end_together() -> None:
    async def main() -> None:
        pace, ends = Pace(), list[float]()
        with pace.lane(Link(), 100, None) as fast, pace.lane(Link(), 100, None) as slow:
            await asyncio.gather(send_all(fast, 100, 0.010, ends), send_all(slow, 100, 0.011, ends))
        assert ends[1] - ends[0] < 3 * 0.011

    run_virtual(main())


def test_a_lane_that_stalls_holds_up_the_others_no_longer_than_their_patience() -> None:
    async def main() -> None:
        pace, ends = Pace(), list[float]()
        with pace.lane(Link(), 100, None) as fast, pace.lane(Link(), 100, None) as stalled:
            await stalled.turn()
            began_s = monotonic_s()
            await send_all(fast, 100, 0.01, ends)
            # 1 s of work, half a second of patience, and a fifth of all that
            assert 1.0 < ends[0] - began_s < 2.0

    run_virtual(main())


def test_a_lane_with_nothing_to_send_holds_up_nobody() -> None:
    async def main() -> None:
        pace, ends = Pace(), list[float]()
        with pace.lane(Link(), 10, None) as lane, pace.lane(Link(), 10, None):
            began_s = monotonic_s()
            await send_all(lane, 10, 0.01, ends)
            assert ends[0] - began_s == pytest.approx(0.1)  # pyright: ignore[reportUnknownMemberType]

    run_virtual(main())


def test_a_lane_that_is_gone_holds_up_nobody() -> None:
    async def main() -> None:
        pace, ends = Pace(), list[float]()
        with pace.lane(Link(), 10, None) as lane:
            with pace.lane(Link(), 10, None) as gone:
                await gone.turn()
                waiting = asyncio.create_task(send_all(lane, 10, 0.0, ends))
                await asyncio.sleep(0.01)
                assert not waiting.done()
            began_s = monotonic_s()
            await waiting
            assert ends[0] - began_s < 0.001

    run_virtual(main())


def test_a_limited_lane_is_let_go_near_its_end_and_when_it_is_over() -> None:
    async def main() -> None:
        pace, link = Pace(), Link()
        with pace.lane(link, 20, 80_000.0) as lane:
            assert link.limits == [12_000]
            for number in range(20):
                await lane.turn()
                lane.sent()
                assert (link.limits[-1] is None) == (number + 1 >= 17)
        assert link.limits[-1] is None

    run_virtual(main())
