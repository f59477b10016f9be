"""The chunks one peer reduces in one attempt: who gave, who still may, and the sum so far.

No network here. A pile is finished by `finish`, which quantises the mean once; the caller decides when.
"""

from dataclasses import dataclass, field

import numpy as np

from swarm.net.wire import ChunkResult
from swarm.state.roster import Roster, result_digest
from swarm.state.run import Run
from swarm.vector.feedback import owner_share


@dataclass
class Pile:
    """One chunk on its way to a mean."""

    sum_N: np.ndarray | None = None
    counted: set[int] = field(default_factory=set[int])
    """Seats whose part is in the sum."""
    settled: set[int] = field(default_factory=set[int])
    """Seats from which nothing more will come: counted or withheld."""


@dataclass(frozen=True)
class Requantised:
    """What quantising the mean took from everybody; the owner adds it to its residual if this very result commits."""

    digest: bytes
    error_N: np.ndarray


class Piles:
    """All piles of one peer in one attempt."""

    def __init__(self, run: Run, roster: Roster, own_seat: int) -> None:
        self._run = run
        self._roster = roster
        self._own_seat = own_seat
        self._givers = frozenset(n for n, seat in enumerate(roster.seats) if seat.contributes)
        self._lost: set[int] = set()
        self._piles: dict[int, Pile] = {}
        self.requantised: dict[int, Requantised] = {}
        """By chunk, for the results this peer made."""

    def add(self, chunk: int, seat: int, data: bytes) -> None:
        """Counts one part; a second part of the same seat, or one by a seat that gives nothing, changes nothing.

        Raises:
            ProtocolError: the bytes are not a valid encoding of this chunk.
        """
        pile = self._pile(chunk)
        length = self._run.grid.length(chunk)
        if seat in pile.settled or seat not in self._givers:
            self._run.codec.check(data, length)
            return
        if pile.sum_N is None:
            pile.sum_N = np.zeros(length, np.float32)
        self._run.codec.accumulate(data, length, self._roster.weights[seat], pile.sum_N)
        pile.counted.add(seat)
        pile.settled.add(seat)

    def withhold(self, chunk: int, seat: int) -> None:
        """This seat gives nothing to this chunk."""
        self._pile(chunk).settled.add(seat)

    def lose(self, seat: int) -> None:
        """This seat is gone: no pile waits for it."""
        self._lost.add(seat)

    def waits_for(self, chunk: int) -> frozenset[int]:
        """Seats whose part may still come."""
        return self._givers - self._pile(chunk).settled - self._lost

    def discard(self, chunk: int) -> None:
        """The chunk's result came from elsewhere."""
        self._piles.pop(chunk, None)

    def finish(self, chunk: int) -> ChunkResult:
        """The chunk's mean over those that were counted, quantised once; zeros if nobody was."""
        pile = self._piles.pop(chunk, None) or Pile()
        length = self._run.grid.length(chunk)
        total = sum(self._roster.weights[seat] for seat in pile.counted)
        mean_N = np.zeros(length, np.float32)
        if pile.sum_N is not None:
            np.divide(pile.sum_N, np.float32(total), out=mean_N)
        data = self._run.codec.encode(mean_N)
        result = ChunkResult(chunk, self._roster.bitmap(pile.counted), data)
        if self._own_seat in pile.counted:
            decoded_N = self._run.codec.decode(data, length)
            error_N = owner_share(mean_N, decoded_N, total, self._roster.weights[self._own_seat])
            self.requantised[chunk] = Requantised(result_digest(result.contributors, data), error_N)
        return result

    def _pile(self, chunk: int) -> Pile:
        return self._piles.setdefault(chunk, Pile())
