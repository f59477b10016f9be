"""Keeps a peer's lanes level, so that its links are full until the last of them ends.

Lanes share links that TCP does not share evenly: one that gets more ends early, and what it leaves the others find only
slowly. So a lane that is ahead of a slower one waits for it, early in a round with some slack, towards the end with
none, and never for long: a peer that stalls must not hold up the rest. Where owners are unequal, the lanes between two
fast peers would also take from a slow one's; each is limited to a little more than what it needs to end with the
others, until it nears its end.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from swarm.clock import monotonic_s
from swarm.net.tasks import Signal

_SLACK = 0.1
"""How far a lane may be ahead of the slowest, as a part of what that one has still to send; and one chunk more."""
_PATIENCE_S = 0.5
_PATIENCE = 0.2
"""How long a lane waits for slower ones in all: so many seconds, and this part of the time since the round began."""
_HEADROOM = 1.2
_FREE_FROM = 0.85
"""Where a limited lane is let go: others may have ended by then, and left it their part of the link."""


class Limited(Protocol):
    """What a pace asks of a stream."""

    def limit_rate(self, bytes_per_s: int | None) -> None: ...


class Pace:
    """The lanes of one peer in one attempt that carry the same kind of frame."""

    def __init__(self) -> None:
        self.began_s = monotonic_s()
        self.moved = Signal()
        self._lanes: set[PacedLane] = set()

    @contextmanager
    def lane(self, stream: Limited, chunks: int, rate_bps: float | None) -> "Generator[PacedLane]":
        """A lane that carries this many chunks, and needs this rate to end with the others; None: do not limit it."""
        lane = PacedLane(self, stream, chunks)
        self._lanes.add(lane)
        if rate_bps is not None:
            stream.limit_rate(int(_HEADROOM * rate_bps / 8))
        try:
            yield lane
        finally:
            self._lanes.discard(lane)
            stream.limit_rate(None)
            self.moved.fire()

    @property
    def slowest(self) -> float:
        """How much of its chunks the slowest lane that has one at hand has sent."""
        return min((lane.progress for lane in self._lanes if lane.is_busy), default=1.0)


class PacedLane:
    """One lane's turns."""

    def __init__(self, pace: Pace, stream: Limited, chunks: int) -> None:
        self._pace = pace
        self._stream = stream
        self._chunks = max(1, chunks)
        self._sent = 0
        self._waited_s = 0.0
        self.is_busy = False

    @property
    def progress(self) -> float:
        return self._sent / self._chunks

    async def turn(self) -> None:
        """Waits while this lane, which has a chunk to send, is ahead of another that has one too."""
        self.is_busy = True
        while self._is_ahead():
            now_s = monotonic_s()
            patience_s = _PATIENCE_S + _PATIENCE * (now_s - self._pace.began_s) - self._waited_s
            has_moved = await self._pace.moved.wait_within(patience_s)
            self._waited_s += monotonic_s() - now_s
            if not has_moved:
                return

    def sent(self) -> None:
        """The chunk is on its way."""
        self._sent += 1
        self.is_busy = False
        if self.progress >= _FREE_FROM:
            self._stream.limit_rate(None)
        self._pace.moved.fire()

    def _is_ahead(self) -> bool:
        slowest = self._pace.slowest
        return self.progress > slowest + _SLACK * (1 - slowest) + 1 / self._chunks
