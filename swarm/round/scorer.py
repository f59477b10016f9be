"""What one peer says of a candidate base: its trainer's losses on held-out data, compared. No network here."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np

from swarm.state.quality import MAX_CHANGE_PERCENT

Score = Callable[[np.ndarray], Awaitable[float | None]]
"""The loss of a base, float32 [N], on this peer's held-out data: infinite if it is no number, None if it cannot say."""


@dataclass(frozen=True)
class Opinion:
    """What one peer says of a candidate."""

    accepts: bool
    change_percent: int


class Scorer:
    """Has this peer's trainer score bases; remembers the loss of the last one."""

    def __init__(self, score: Score) -> None:
        self._score = score
        self._known: dict[bytes, float] = {}

    async def opinion(
        self, base: tuple[bytes, np.ndarray], candidate: tuple[bytes, np.ndarray], tolerance_percent: float
    ) -> Opinion | None:
        """What this peer says of a candidate, given both states' digests and bases; None if it has nothing to say."""
        before = await self._loss(*base)
        after = None if before is None else await self._loss(*candidate)
        if before is None or after is None:
            return None
        self._known = {digest: loss for digest, loss in self._known.items() if digest in (base[0], candidate[0])}
        return judge(before, after, tolerance_percent)

    async def _loss(self, digest: bytes, base_N: np.ndarray) -> float | None:
        if digest not in self._known:
            loss = await self._score(base_N)
            if loss is None:
                return None
            self._known[digest] = loss
        return self._known[digest]


def judge(before: float, after: float, tolerance_percent: float) -> Opinion:
    """Whether a candidate's loss is good enough, and by how much it is higher."""
    if not math.isfinite(after):
        return Opinion(not math.isfinite(before), MAX_CHANGE_PERCENT if math.isfinite(before) else 0)
    if not math.isfinite(before):
        return Opinion(True, -MAX_CHANGE_PERCENT)
    change = 100 * (after - before) / max(abs(before), 1e-12)
    bounded = max(-MAX_CHANGE_PERCENT, min(MAX_CHANGE_PERCENT, change))
    return Opinion(change <= tolerance_percent, round(bounded))
