"""The sums one peer makes in one attempt: who is in each, who still may come, and the mean so far.

No network here, and nobody decides here when a sum is closed. Memory is used again from chunk to chunk.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass, field

import numpy as np

from swarm.state.roster import Roster
from swarm.state.run import Run
from swarm.vector.codec import Buffer
from swarm.vector.grid import Vector

_SPARE = 16


@dataclass
class Pile:
    """One chunk on its way to a mean."""

    sum_N: Vector | None = None
    counted: set[int] = field(default_factory=set[int])
    """Seats whose update is in the sum."""
    settled: set[int] = field(default_factory=set[int])
    """Seats from which nothing more will come: counted, or they give nothing."""


class Piles:
    """All open sums of one peer in one attempt."""

    def __init__(self, run: Run, roster: Roster) -> None:
        self._run = run
        self._roster = roster
        self._givers = frozenset(number for number, seat in enumerate(roster.seats) if seat.contributes)
        self._lost: set[int] = set()
        self._piles: dict[int, Pile] = {}
        self._spare: list[Vector] = []

    def add(self, chunk: int, seats: Set[int], data: Buffer) -> bool:
        """Counts the encoded mean over `seats`; False if one of them is settled already, or gives nothing.

        Raises:
            ProtocolError: the bytes are not a valid encoding of this chunk, or exceed the norm bound.
        """
        length = self._run.grid.length(chunk)
        pile = self._pile(chunk)
        if seats & pile.settled or not seats <= self._givers:
            self._run.codec.check(data, length)
            return False
        self._run.codec.check(data, length)
        self._run.check_norm(data, length)
        is_first = pile.sum_N is None
        sum_N = self._space(length) if pile.sum_N is None else pile.sum_N
        weight = sum(self._roster.weights[seat] for seat in seats)
        self._run.codec.accumulate(data, length, weight, sum_N, is_first, is_checked=True)
        self._count(pile, seats, sum_N)
        return True

    def add_part(self, chunk: int, seat: int, data: Buffer) -> None:
        """Counts one seat's part. Raises ProtocolError like `add`."""
        self.add(chunk, {seat}, data)

    def add_sum(self, chunk: int, seats: Set[int], data: Buffer) -> None:
        """Counts a group's mean. Raises ProtocolError like `add`."""
        self.add(chunk, seats, data)

    def add_own(self, chunk: int, seat: int, x_n: Vector) -> None:
        """Counts this peer's own part as it is: what never leaves need not be quantised."""
        pile = self._pile(chunk)
        if seat in pile.settled:
            return
        weight = np.float32(self._roster.weights[seat])
        if pile.sum_N is None:
            sum_N = np.multiply(x_n, weight, out=self._space(x_n.size))
        elif weight == 1:
            sum_N = np.add(pile.sum_N, x_n, out=pile.sum_N)
        else:
            sum_N = pile.sum_N
            for start in range(0, x_n.size, 32_768):  # the product of a tile stays in the cache
                sum_N[start : start + 32_768] += x_n[start : start + 32_768] * weight
        self._count(pile, {seat}, sum_N)

    def settle(self, chunk: int, seats: Iterable[int]) -> None:
        """These seats give nothing more to this chunk."""
        self._pile(chunk).settled.update(seats)

    def lose(self, seat: int) -> None:
        """This seat is gone: no sum waits for it."""
        self._lost.add(seat)

    def waits_for(self, chunk: int, seats: Set[int]) -> Set[int]:
        """Those of `seats` whose update may still come."""
        return (self._givers & seats) - self._pile(chunk).settled - self._lost

    def may_close(self, seats: Set[int]) -> bool:
        """Whether a sum over `seats` that waits for nobody else may be closed."""
        return True

    def unmask(self, chunk: int, seats: Set[int]) -> bool:
        """Makes a sum over `seats` readable; False if it cannot be one. Nothing to do where parts are not masked."""
        return True

    def take_masked(self, chunk: int) -> tuple[frozenset[int], bytes] | None:
        """A sum that goes up masked; None where sums go up as means."""
        return None

    def discard(self, chunk: int) -> None:
        """The chunk's result came from elsewhere."""
        pile = self._piles.pop(chunk, None)
        if pile is not None and pile.sum_N is not None:
            self._keep(pile.sum_N)

    def take(self, chunk: int) -> tuple[frozenset[int], int, Vector]:
        """Closes a sum: who is in it, their weight, and their mean (zeros if nobody is), good until the next sum."""
        pile = self._piles.pop(chunk, None) or Pile()
        length = self._run.grid.length(chunk)
        if pile.sum_N is None:
            return frozenset(), 0, np.zeros(length, np.float32)
        self._keep(pile.sum_N)
        weight = sum(self._roster.weights[seat] for seat in pile.counted)
        return frozenset(pile.counted), weight, np.divide(pile.sum_N, np.float32(weight), out=pile.sum_N)

    def _count(self, pile: Pile, seats: Set[int], sum_N: Vector) -> None:
        pile.sum_N = sum_N
        pile.counted |= seats
        pile.settled |= seats

    def _pile(self, chunk: int) -> Pile:
        return self._piles.setdefault(chunk, Pile())

    def _keep(self, sum_N: Vector) -> None:
        if len(self._spare) < _SPARE and sum_N.size == self._run.grid.chunk_elements:
            self._spare.append(sum_N)

    def _space(self, length: int) -> Vector:
        if self._spare and length == self._run.grid.chunk_elements:
            return self._spare.pop()
        return np.empty(length, np.float32)
