"""Masked sums of an owner: parts are added modulo 2**16, and the self-masks come off when all of the circle are there.

Where members mask by region, an owner unmasks the sum of its own group and goes on with it as with any mean: what comes
up from other groups are means already. Where all mask together, sums stay masked on their way up, and the root's owner
unmasks the sum of all. A sum is whole only with every giver of its circle in it; nothing is ever scaled to fewer.
"""

from collections.abc import Set

import numpy as np

from swarm.errors import ProtocolError
from swarm.round.piles import Piles
from swarm.round.secure.parts import MaskedParts
from swarm.round.secure.phases import Code
from swarm.round.secure.stage import Stage
from swarm.state.roster import Roster
from swarm.state.run import Run
from swarm.vector import masks
from swarm.vector.bounds import Buffer, check_size
from swarm.vector.grid import Vector
from swarm.vector.secure_codes import WORD, Words


class MaskedPiles(Piles):
    """All open sums of one peer in one attempt."""

    def __init__(self, run: Run, roster: Roster, stage: Stage, parts: MaskedParts) -> None:
        super().__init__(run, roster)
        self._givers = stage.circles.givers
        self._stage = stage
        self._parts = parts
        self._sums: dict[int, Words] = {}
        self._in_sum: dict[int, set[int]] = {}

    def add_part(self, chunk: int, seat: int, data: Buffer) -> None:
        self._add(chunk, {seat}, data)

    def add_sum(self, chunk: int, seats: Set[int], data: Buffer) -> None:
        if self._stage.circles.is_across:
            self._add(chunk, seats, data)
        else:
            super().add_sum(chunk, seats, data)

    def add_own(self, chunk: int, seat: int, x_n: Vector) -> None:
        pile = self._pile(chunk)
        if seat not in pile.settled:
            self._put(chunk, {seat}, self._parts.masked(chunk))

    def waits_for(self, chunk: int, seats: Set[int]) -> Set[int]:
        missing = super().waits_for(chunk, seats)
        return missing | (self._stage.unknown & seats) if self._opens(seats) else missing

    def may_close(self, seats: Set[int]) -> bool:
        """Not before this peer has revealed its own self-mask: until then its update is in no sum that anybody sees."""
        return not (self._opens(seats) and self._stage.unknown)

    def unmask(self, chunk: int, seats: Set[int]) -> bool:
        """Takes the masks off the sum over the circle, if `seats` are those that may see it.

        False if what is left is no sum of updates: then this attempt has been ended.
        """
        if not self._stage.circle or not self._opens(seats):
            return True
        counted = frozenset(self._in_sum.pop(chunk, ()))
        if counted != self._stage.circle:
            absent = [self._roster.peers[seat] for seat in sorted(self._stage.circle - counted)]
            self._stage.fail(Code.INCOMPLETE, f"chunk {chunk} was closed without the parts of {', '.join(absent)}")
            return False
        sum_n = self._sums.pop(chunk)
        weight = sum(self._roster.weights[seat] for seat in counted)
        codes = self._run.secure_codes
        masks.unmask(sum_n, self._stage.self_keys(chunk))
        if not codes.is_sum(sum_n, weight):
            self._stage.fail(Code.OUT_OF_RANGE, f"chunk {chunk} is no sum of updates when its masks are off")
            return False
        pile = self._pile(chunk)
        sum_N = self._space(sum_n.size)
        codes.decode_sum(sum_n, self._stage.ranges(chunk), weight, sum_N)
        if pile.sum_N is None:
            pile.sum_N = sum_N
        else:
            pile.sum_N += sum_N
            self._keep(sum_N)
        pile.counted |= counted
        return True

    def take_masked(self, chunk: int) -> tuple[frozenset[int], bytes] | None:
        """A masked sum on its way up, and whose parts are in it; None if sums go up as means."""
        if not self._stage.circles.is_across:
            return None
        sum_n = self._sums.pop(chunk, None)
        counted = frozenset(self._in_sum.pop(chunk, ()))
        self._piles.pop(chunk, None)
        return counted, np.zeros(self._run.grid.length(chunk), WORD).tobytes() if sum_n is None else sum_n.tobytes()

    def discard(self, chunk: int) -> None:
        self._sums.pop(chunk, None)
        self._in_sum.pop(chunk, None)
        super().discard(chunk)

    def _opens(self, seats: Set[int]) -> bool:
        """Whether the owner of a chunk among these seats takes the masks off."""
        return self._stage.circle <= seats

    def _add(self, chunk: int, seats: Set[int], data: Buffer) -> None:
        length = self._run.grid.length(chunk)
        check_size(data, WORD.itemsize * length)
        pile = self._pile(chunk)
        if not seats <= self._stage.circle:
            raise ProtocolError("a masked part of a peer that is in no circle with this one")
        if not seats & pile.settled:
            self._put(chunk, seats, np.frombuffer(data, WORD))

    def _put(self, chunk: int, seats: Set[int], words_n: Words) -> None:
        sum_n = self._sums.get(chunk)
        if sum_n is None:
            self._sums[chunk] = words_n.astype(np.uint16)
        else:
            masks.add(sum_n, words_n)
        self._in_sum.setdefault(chunk, set()).update(seats)
        self._pile(chunk).settled |= seats
