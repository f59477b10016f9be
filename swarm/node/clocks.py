"""Whether this machine's clock is right, judged by the clocks of others.

Rounds use no wall clock, but announcements live for half a minute and passports have a first and a last second: a peer
whose clock is minutes off is not seen by others, or does not see them, and nothing else would tell why. Every peer
answers what time it has, over a stream that proves who it is; the median of a few answers decides, so no single peer
can make a right clock look wrong.
"""

import asyncio
from collections.abc import Callable, Sequence
from math import isfinite
from statistics import median_high, median_low
from typing import NoReturn

from swarm import events
from swarm.clock import WallClock, monotonic_s
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.calls import Caller
from swarm.net.transport import StreamLostError
from swarm.state.electorate import few_of

MAX_ERROR_S = 15.0
"""Half of an announcement's life."""
MOST_ASKED = 8
CHECK_EVERY_S = 60.0
_ASK_LIMIT_S = 2.0


class ClockCheck:
    """Compares this machine's clock with others', and says once when it begins or ceases to be wrong."""

    def __init__(self, wall_clock: WallClock, sink: Callable[[events.AnyEvent], None]) -> None:
        self._wall_clock = wall_clock
        self._sink = sink
        self._checks = 0
        self._ahead_s = 0.0
        """As it was last said."""

    async def keep_checking(self, caller: Caller, peers: Callable[[], Sequence[PeerId]]) -> NoReturn:
        """A check now and every minute, with other peers each time."""
        while True:
            await self.check(caller, peers())
            await asyncio.sleep(CHECK_EVERY_S)

    async def check(self, caller: Caller, peers: Sequence[PeerId]) -> int:
        """Asks a few of `peers` at once; who does not answer soon has no say. Returns how many answered."""
        self._checks += 1
        few = few_of([peer for peer in peers if peer != caller.peer_id], MOST_ASKED, f"clock/{self._checks}")
        answers = await asyncio.gather(*(self._ahead_of(caller, peer) for peer in few))
        ahead_s = [answer for answer in answers if answer is not None]
        if ahead_s:
            self._judge(clock_error_s(ahead_s), len(ahead_s))
        return len(ahead_s)

    def _judge(self, ahead_s: float, peers: int) -> None:
        if abs(ahead_s - self._ahead_s) <= MAX_ERROR_S and (ahead_s == 0) == (self._ahead_s == 0):
            return
        self._ahead_s = ahead_s
        if ahead_s != 0:
            self._sink(events.ClockWrong(ahead_s=ahead_s, peers=peers))
        else:
            self._sink(events.Note(text="this machine's clock agrees with the others' again"))

    async def _ahead_of(self, caller: Caller, peer: PeerId) -> float | None:
        """Seconds by which this clock is ahead of a peer's; None if it does not say."""
        asked_s = monotonic_s()
        try:
            answer = await caller.ask(peer, wire.GetTime(), wire.TimeIs, wire.MAX_REQUEST_BYTES, _ASK_LIMIT_S)
        except (StreamLostError, ProtocolError):
            return None
        then = self._wall_clock() - (monotonic_s() - asked_s) / 2  # the answer was written half-way
        return then - answer.at if isfinite(answer.at) else None


def clock_error_s(ahead_s: Sequence[float]) -> float:
    """Seconds by which a clock is wrong that is so much ahead of each of some others; 0 if it is right enough.

    The median decides; of an even number both in the middle must agree that it is wrong, and in which direction.
    """
    low, high = median_low(ahead_s), median_high(ahead_s)
    if low > MAX_ERROR_S:
        return low
    return high if high < -MAX_ERROR_S else 0.0
