"""An owner's side of an all-reduce: opens sums, counts what comes from below, closes each in time, passes it on or up.

Chunks are worked on in order, so that those who send in order keep only a few sums open. Who sends what over which
stream is not decided here.
"""

import asyncio
from collections.abc import Iterable, Sequence

import numpy as np

from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.net import wire
from swarm.round.attempt import Attempt
from swarm.round.piles import Piles
from swarm.round.plan import Group
from swarm.vector.grid import Vector

WINDOW_CHUNKS = 8
"""Chunks an owner lets a fast sender run ahead of its slowest open sum: bounds the memory of open sums."""

Given = wire.Part | wire.Sum | wire.GetReduced
"""What comes from below for a chunk."""


class Owner:
    """The sums of one peer in one attempt."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._piles = Piles(attempt.run, attempt.roster)
        self._places: dict[int, int] = {}
        """Chunks whose sum is yet to be closed, with their places in that order."""
        self._first_place = 0
        self.sums: dict[int, wire.Sum] = {}
        """Sums on their way up: kept until the result is there, should their owner above fail."""
        self._outboxes: dict[int, asyncio.Queue[int]] = {}
        """By chunk: where the lane that its sum goes up by is told of it."""

    # --- which chunks -------------------------------------------------------------------------------------------------

    def take_on(self, chunks: Iterable[int]) -> None:
        """These chunks are this peer's to close from now on."""
        last = max(self._places.values(), default=-1)
        self._places.update({chunk: last + 1 + place for place, chunk in enumerate(chunks)})
        self._first_place = min(self._places.values(), default=0)

    def has(self, chunk: int) -> bool:
        """Whether this peer's sum of a chunk is open, or on its way up."""
        return chunk in self._places or chunk in self.sums

    def is_open(self, chunk: int) -> bool:
        return chunk in self._places

    # --- from below ---------------------------------------------------------------------------------------------------

    async def room_for(self, chunk: int) -> None:
        """Holds back a sender that runs too far ahead of this owner's slowest open sum."""
        while chunk in self._places and self._places[chunk] >= self._first_place + WINDOW_CHUNKS:
            await self._attempt.changed.wait()

    def count(self, seat: int, chunk: int, given: Given) -> None:
        """Counts what one seat below sent for a chunk. Raises ProtocolError if it may not send that."""
        attempt, plan = self._attempt, self._attempt.plan
        match given:
            case wire.Part(_, data):
                if seat not in plan.neighbours(attempt.seat):
                    raise ProtocolError("a single update from another group")
                self._piles.add(chunk, {seat}, data)
            case wire.Sum(_, contributors, data):
                seats = frozenset(attempt.roster.contributors(contributors))
                branch = plan.branch(attempt.seat, seat)
                if not seats or not seats <= branch or seat in plan.neighbours(attempt.seat):
                    raise ProtocolError("a sum of peers that its sender does not speak for")
                self._piles.add(chunk, seats, data)
                self._piles.settle(chunk, branch)
            case wire.GetReduced():
                speaks_for = plan.branch(attempt.seat, seat) if attempt.roster.seats[seat].dialable else (seat,)
                self._piles.settle(chunk, speaks_for)
        attempt.changed.fire()

    def owes(self, seat: int, asked: set[int]) -> bool:
        """Whether a seat has yet to send something for a chunk whose sum is open."""
        attempt = self._attempt
        due = self._places.keys() - asked
        return any(attempt.plan.upstream(seat, chunk, attempt.failed) == attempt.seat for chunk in due)

    def lose(self, seat: int) -> None:
        """A seat is gone: no sum waits for it."""
        self._piles.lose(seat)
        self._attempt.changed.fire()

    # --- closing ------------------------------------------------------------------------------------------------------

    async def close(self, chunks: Sequence[int]) -> None:
        """Closes chunks that were taken on, in order: each when everyone's part is there, or at its deadline."""
        began_s = monotonic_s()
        for chunk in chunks:
            if chunk not in self._attempt.results:
                await self._close(chunk, began_s)
            del self._places[chunk]
            self._first_place = min(self._places.values(), default=0)
            self._attempt.changed.fire()
            await asyncio.sleep(0)  # lanes go on between two chunks

    def settled(self, chunk: int) -> None:
        """The chunk's result is here, from wherever."""
        self.sums.pop(chunk, None)
        self._piles.discard(chunk)
        outbox = self._outboxes.pop(chunk, None)
        if outbox is not None:
            outbox.put_nowait(chunk)  # whoever waits there for a sum need not wait any more

    def send_up_by(self, chunk: int, outbox: "asyncio.Queue[int]") -> None:
        """Puts the chunk into the queue, just once: when its sum is made, or is needed no more."""
        if chunk in self.sums or chunk in self._attempt.results:
            outbox.put_nowait(chunk)
        else:
            self._outboxes[chunk] = outbox

    async def _close(self, chunk: int, began_s: float) -> None:
        """Waits for everyone in the group this peer owns the chunk of, then makes the result, or the sum to pass on."""
        attempt = self._attempt
        self._add_own(chunk)
        while True:
            level, scope = self._scope(chunk)
            missing = self._piles.waits_for(chunk, scope.seats)
            left_s = began_s + attempt.closes_after_s(level) - monotonic_s()
            if not missing or left_s <= 0:
                break
            await attempt.changed.wait_within(left_s)
            if chunk in attempt.results:
                return
        for seat in missing:
            attempt.report_lost(seat, "sender", f"its part did not come within {attempt.closes_after_s(level):.1f} s")
            self._piles.lose(seat)
        if scope is attempt.plan.root:
            self._conclude(chunk)
        else:
            await self._pass_up(chunk)

    def _scope(self, chunk: int) -> tuple[int, Group]:
        """The largest group this peer owns the chunk in, and its level. Others only fail, so it never shrinks."""
        found = self._attempt.plan.scope(self._attempt.seat, chunk, self._attempt.failed)
        assert found is not None
        return found

    def _add_own(self, chunk: int) -> None:
        attempt = self._attempt
        contribution = attempt.delivery.contribution
        passed = self.sums.get(chunk)
        if passed is not None:  # the owner above failed, and this peer is next
            seats = frozenset(attempt.roster.contributors(passed.contributors))
            if seats:  # a sum of nobody is zeros, and has no weight
                self._piles.add(chunk, seats, passed.data)
            self._piles.settle(chunk, attempt.plan.neighbours(attempt.seat))
        elif contribution is None:
            self._piles.settle(chunk, (attempt.seat,))
        else:
            self._piles.add_own(chunk, attempt.seat, contribution.x_N[attempt.run.grid.bounds(chunk)])

    def _conclude(self, chunk: int) -> None:
        """The root's owner makes the result."""
        attempt = self._attempt
        counted, weight, mean_n = self._piles.take(chunk)
        if not attempt.roster.may_cross(counted, attempt.run.least_members):
            counted, mean_n = frozenset[int](), np.zeros_like(mean_n)
        data = self._encode_mean(chunk, counted, weight, mean_n)
        digest = attempt.results.put(wire.ChunkResult(chunk, attempt.roster.bitmap(counted), memoryview(data)))
        if attempt.seat in counted:
            attempt.delivery.made(chunk, digest)

    async def _pass_up(self, chunk: int) -> None:
        """An owner below the root quantises its group's mean and gives it to the lane above."""
        attempt = self._attempt
        while len(self.sums) >= 2 * WINDOW_CHUNKS and chunk not in attempt.results:
            await attempt.changed.wait()
        if chunk in attempt.results:
            return
        counted, weight, mean_n = self._piles.take(chunk)
        data = self._encode_mean(chunk, counted, weight, mean_n)
        bitmap = attempt.roster.bitmap(counted)
        if attempt.seat in counted:
            attempt.delivery.made(chunk, bitmap)
        self.sums[chunk] = wire.Sum(chunk, bitmap, memoryview(data))
        outbox = self._outboxes.pop(chunk, None)
        if outbox is not None:
            outbox.put_nowait(chunk)

    def _encode_mean(self, chunk: int, counted: frozenset[int], weight: int, mean_n: Vector) -> bytes:
        attempt = self._attempt
        if attempt.seat in counted:
            return attempt.delivery.encode_mean(chunk, mean_n, weight, attempt.roster.weights[attempt.seat])
        return attempt.run.codec.encode(mean_n)
