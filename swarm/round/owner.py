"""An owner's side of an all-reduce: opens sums, counts what comes from below, passes each on or up once it is whole.

A sum is closed by whatever makes it whole, or by its deadline, in any order: one that waits for a far region does not
hold up another. Who sends what over which stream is not decided here.
"""

import asyncio
from collections.abc import Iterable, Sequence, Set

import numpy as np

from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.net import wire
from swarm.round.attempt import Attempt
from swarm.round.piles import Piles
from swarm.round.plan import Group
from swarm.round.secure.phases import Code
from swarm.vector.grid import Vector

WINDOW_CHUNKS = 24
"""Chunks an owner lets those below run ahead of its first one without a result: bounds the memory of open sums."""

Given = wire.Part | wire.Sum | wire.GetReduced
"""What comes from below for a chunk."""


class Owner:
    """The sums of one peer in one attempt."""

    def __init__(self, attempt: Attempt, piles: Piles) -> None:
        self._attempt = attempt
        self._piles = piles
        self._open: set[int] = set()
        """Chunks whose sum is yet to be closed."""
        self._places: dict[int, int] = {}
        """Chunks this peer owns that have no result yet, with their places in the order of work, first place first."""
        self._next_place = 0
        self.sums: dict[int, wire.Sum] = {}
        """Sums on their way up: kept until the result is there, should their owner above fail."""
        self._outboxes: dict[int, asyncio.Queue[int]] = {}
        """By chunk: where the lane that its sum goes up by is told of it."""

    # --- which chunks -------------------------------------------------------------------------------------------------

    def take_on(self, chunks: Iterable[int]) -> None:
        """These chunks are this peer's to close from now on; `see_to` follows."""
        for chunk in chunks:
            self._open.add(chunk)
            self._places[chunk] = self._next_place
            self._next_place += 1
            passed = self.sums.get(chunk)
            if passed is not None:  # the owner above failed, and this peer is next: its sum is the first to count
                seats = frozenset(self._attempt.roster.contributors(passed.contributors))
                if seats:  # a sum of nobody is zeros, and has no weight
                    self._piles.add(chunk, seats, passed.data)
                self._piles.settle(chunk, self._attempt.plan.neighbours(self._attempt.seat))

    def has(self, chunk: int) -> bool:
        """Whether this peer's sum of a chunk is open, or on its way up."""
        return chunk in self._open or chunk in self.sums

    @property
    def unfinished(self) -> int:
        """How many of this peer's chunks have no result yet."""
        return len(self._places)

    def is_open(self, chunk: int) -> bool:
        return chunk in self._open

    async def see_to(self, chunks: Sequence[int]) -> None:
        """Closes what is whole already, and by its deadline what is still open then."""
        began_s = monotonic_s()
        for chunk in chunks:
            self._close_if_whole(chunk)
            await asyncio.sleep(0)  # lanes go on between two chunks
        for level in range(self._attempt.plan.depth):
            await asyncio.sleep(max(0.0, began_s + self._attempt.closes_after_s(level) - monotonic_s()))
            for chunk in chunks:
                if chunk in self._open and self._scope(chunk)[0] <= level:
                    self._give_up_waiting(chunk)
                    await asyncio.sleep(0)

    # --- from below ---------------------------------------------------------------------------------------------------

    async def room_for(self, chunk: int, given: Given) -> None:
        """Holds back a sender that runs too far ahead of this owner's first chunk without a result.

        Not with a sum: sums come in no order, and their own makers' windows bound how many there are. A chunk that
        this peer does not own yet, because it still counts on another owner, waits until it does or has the result.
        """
        while chunk not in self._attempt.results:
            if chunk in self._places:
                first_place = next(iter(self._places.values()))
                # Secure sums are all open until the last part is here: what they take is counted in `MaskedPiles`.
                is_open_end = isinstance(given, wire.Sum) or self._attempt.secure is not None
                if is_open_end or self._places[chunk] < first_place + WINDOW_CHUNKS:
                    return
            await self._attempt.changed.wait()

    def count(self, seat: int, chunk: int, given: Given) -> None:
        """Counts what one seat below sent for a chunk, unless that is closed.

        Raises:
            ProtocolError: the seat may not send that.
        """
        attempt, plan = self._attempt, self._attempt.plan
        if chunk not in self._open:
            return
        match given:
            case wire.Part(_, data):
                if seat not in plan.neighbours(attempt.seat):
                    raise ProtocolError("a single update from another group")
                self._piles.add_part(chunk, seat, data)
            case wire.Sum(_, contributors, data):
                seats = frozenset(attempt.roster.contributors(contributors))
                branch = plan.branch(attempt.seat, seat)
                if not seats or not seats <= branch or seat in plan.neighbours(attempt.seat):
                    raise ProtocolError("a sum of peers that its sender does not speak for")
                self._piles.add_sum(chunk, seats, data)
                self._piles.settle(chunk, branch)
            case wire.GetReduced():
                speaks_for = plan.branch(attempt.seat, seat) if attempt.roster.seats[seat].dialable else (seat,)
                self._piles.settle(chunk, speaks_for)
        self._close_if_whole(chunk)

    def owes(self, seat: int, asked: set[int]) -> bool:
        """Whether a seat has yet to send something for a chunk whose sum is open."""
        attempt = self._attempt
        due = self._open - asked
        return any(attempt.plan.upstream(seat, chunk, attempt.failed) == attempt.seat for chunk in due)

    def lose(self, seat: int) -> None:
        """A seat is gone: no sum waits for it."""
        self._piles.lose(seat)
        self.look_again()

    def look_again(self) -> None:
        """Closes what has become whole because somebody failed."""
        for chunk in sorted(self._open):
            self._close_if_whole(chunk)

    def settled(self, chunk: int) -> None:
        """The chunk's result is here, from wherever."""
        self._open.discard(chunk)
        self.sums.pop(chunk, None)
        self._piles.discard(chunk)
        self._places.pop(chunk, None)
        outbox = self._outboxes.pop(chunk, None)
        if outbox is not None:
            outbox.put_nowait(chunk)  # whoever waits there for a sum need not wait any more

    def send_up_by(self, chunk: int, outbox: "asyncio.Queue[int]") -> None:
        """Puts the chunk into the queue, just once: when its sum is made, or is needed no more."""
        if chunk in self.sums or chunk in self._attempt.results:
            outbox.put_nowait(chunk)
        else:
            self._outboxes[chunk] = outbox

    # --- closing ------------------------------------------------------------------------------------------------------

    def _close_if_whole(self, chunk: int) -> None:
        if chunk not in self._open or (self._attempt.secure is not None and self._attempt.secure.is_over):
            return
        if not self._missing(chunk) and self._piles.may_close(self._scope(chunk)[1].seats):
            self._close(chunk)

    def _missing(self, chunk: int) -> Set[int]:
        """Seats that an open sum waits for."""
        _, scope = self._scope(chunk)
        return self._piles.waits_for(chunk, scope.seats) - {self._attempt.seat}

    def _give_up_waiting(self, chunk: int) -> None:
        level, _ = self._scope(chunk)
        after_s = self._attempt.closes_after_s(level)
        if self._attempt.secure is not None:
            peers = ", ".join(self._attempt.roster.peers[seat] for seat in sorted(self._missing(chunk)))
            self._attempt.secure.fail(Code.TOO_LATE, f"after {after_s:.1f} s parts or self-masks are missing: {peers}")
            return
        for seat in sorted(self._missing(chunk)):
            self._attempt.report_lost(seat, "sender", f"its part did not come within {after_s:.1f} s")
            self._piles.lose(seat)
        self._close(chunk)

    def _close(self, chunk: int) -> None:
        """Adds this peer's own part; then makes the result, or the sum to pass on."""
        self._open.discard(chunk)
        self._add_own(chunk)
        _, scope = self._scope(chunk)
        if not self._piles.unmask(chunk, scope.seats):
            return
        if scope is self._attempt.plan.root:
            self._conclude(chunk)
        else:
            self._pass_up(chunk)
        self._attempt.changed.fire()

    def _scope(self, chunk: int) -> tuple[int, Group]:
        """The largest group this peer owns the chunk in, and its level. Others only fail, so it never shrinks."""
        found = self._attempt.plan.scope(self._attempt.seat, chunk, self._attempt.failed)
        assert found is not None
        return found

    def _add_own(self, chunk: int) -> None:
        attempt = self._attempt
        contribution = attempt.delivery.contribution
        if contribution is not None and chunk not in self.sums:
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

    def _pass_up(self, chunk: int) -> None:
        """An owner below the root quantises its group's mean and gives it to the lane above."""
        attempt = self._attempt
        masked = self._piles.take_masked(chunk)
        if masked is None:
            counted, weight, mean_n = self._piles.take(chunk)
            data = self._encode_mean(chunk, counted, weight, mean_n)
            if attempt.seat in counted:
                attempt.delivery.made(chunk, attempt.roster.bitmap(counted))
        else:
            counted, data = masked
        bitmap = attempt.roster.bitmap(counted)
        self.sums[chunk] = wire.Sum(chunk, bitmap, memoryview(data))
        outbox = self._outboxes.pop(chunk, None)
        if outbox is not None:
            outbox.put_nowait(chunk)

    def _encode_mean(self, chunk: int, counted: frozenset[int], weight: int, mean_n: Vector) -> bytes:
        attempt = self._attempt
        if attempt.seat in counted:
            return attempt.delivery.encode_mean(chunk, mean_n, weight, attempt.roster.weights[attempt.seat])
        return attempt.run.codec.encode(mean_n)
