"""The chain of records as somebody who watches follows it: verified from the charter, and left for a better one.

Where a peer's next record does not follow, that peer may be on another chain: founders have restarted the run, or a
partition has parted it. It is then asked for older records, further back each time, until some follow; of the two
chains the better one is watched on, by the rule that peers go by (swarm.state.forks). What follows nowhere is refused.
No I/O: records are handed in, values for the projection come out.
"""

from collections.abc import Sequence

from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.state.chain import Mark
from swarm.state.forks import Fork
from swarm.state.quality import tally_of
from swarm.state.records import Decided, Record, round_of
from swarm.state.run import Run
from swarm.telemetry import seen

KEPT = 256
"""Rounds whose records are kept, to compare another chain with."""
_FIRST_LOOK = 8
"""Rounds back that are asked for first, then twice as many each time."""


class ObservedChain:
    """One observer's."""

    def __init__(self, run: Run, most_records: int) -> None:
        """`most_records` is what one answer holds: no fork that is further back can be compared."""
        self._run = run
        self._most_records = most_records
        self.mark = Mark.genesis(run)
        self._before = self.mark
        """The point before the oldest record that is kept."""
        self._kept: list[Decided] = []
        self._back: dict[PeerId, int] = {}
        """How many rounds back a peer is asked that may be on another chain."""
        self._number = 0
        """Of the chain; goes up with every one that is gone over to."""

    def first_for(self, peer: PeerId) -> int:
        """The first round to ask a peer for."""
        return max(self._before.round, self.mark.round - self._back.get(peer, 0)) + 1

    def is_doubted(self, peer: PeerId) -> bool:
        """Whether a peer may be on another chain."""
        return peer in self._back

    def offer(self, peer: PeerId, records: Sequence[bytes]) -> list[seen.Seen]:
        """What is new in a peer's records, one round after the other.

        Raises:
            ProtocolError: a record follows nothing that this chain ever was.
        """
        rounds = [round_of(record) for record in records]
        if not rounds or rounds != list(range(rounds[0], rounds[0] + len(rounds))):
            return []
        if peer in self._back and rounds[0] <= self.mark.round:
            return self._compare(peer, rounds[0], records)
        new = [record for number, record in zip(rounds, records, strict=True) if number > self.mark.round]
        if not new or round_of(new[0]) != self.mark.round + 1:
            return []  # somebody else's answer was quicker
        told: list[seen.Seen] = []
        try:
            for record in new:
                told.append(self._go_on(self.mark.verify(self._run, record)))
        except ProtocolError:
            if not self._can_look_back(peer):
                raise
        return told

    def _compare(self, peer: PeerId, first: int, records: Sequence[bytes]) -> list[seen.Seen]:
        if not self._before.round < first <= self.mark.round + 1:
            return []  # the chain has changed since it was asked
        mark, shared = self._at(first - 1), 0
        theirs: list[Decided] = []
        try:
            for record in records:
                theirs.append(mark.verify(self._run, record))
                mark = Mark.after(self._run, theirs[-1])
        except ProtocolError:
            if not theirs:  # they parted before that
                if self._can_look_back(peer):
                    return []
                raise
        del self._back[peer]
        ours = [decided for decided in self._kept if decided.value.round >= first]
        while shared < min(len(ours), len(theirs)) and ours[shared].digest == theirs[shared].digest:
            shared += 1
        at = self._at(first - 1 + shared)
        fork = Fork(run=self._run, at=at, ours=tuple(ours[shared:]), theirs=tuple(theirs[shared:]))
        return self._go_over(fork) if fork.is_theirs_better else []

    def _go_over(self, fork: Fork) -> list[seen.Seen]:
        told: list[seen.Seen] = []
        if fork.ours:
            self._number += 1
            told.append(seen.Parted(chain=self._number, round=fork.at.round))
            self._kept = [decided for decided in self._kept if decided.value.round <= fork.at.round]
        self.mark = fork.at
        return [*told, *map(self._go_on, fork.theirs)]

    def _go_on(self, decided: Decided) -> seen.Decided:
        self.mark = Mark.after(self._run, decided)
        self._kept.append(decided)
        if len(self._kept) > KEPT:
            self._before = Mark.after(self._run, self._kept.pop(0))
        return told_of(self._run, decided, self._number)

    def _at(self, round_number: int) -> Mark:
        """A kept point of the chain."""
        if round_number == self._before.round:
            return self._before
        return Mark.after(self._run, self._kept[round_number - self._before.round - 1])

    def _can_look_back(self, peer: PeerId) -> bool:
        """Whether a peer can be asked for older records than it was; notes that it has to be."""
        most = min(self.mark.round - self._before.round, self._most_records - 1)
        before = self._back.pop(peer, 0)
        if before >= most:
            return False
        self._back[peer] = min(most, max(_FIRST_LOOK, 2 * before))
        return True


def told_of(run: Run, decided: Decided, chain: int = 0) -> seen.Decided:
    """A verified record as a value for the projection."""
    value, roster = decided.value, decided.roster
    bitmaps = () if value.is_rejected else set(value.contributors)  # what was rejected is in no base
    counted = {number for bitmap in bitmaps for number in roster.contributors(bitmap)}
    record = wire.decode(decided.record, Record)
    quality = None
    if value.is_rejected:
        then = run.under(decided.rules or run.genesis.rules)
        quality = tally_of(then, roster, value.quality, base=value.base_digest, candidate=value.candidate)
    return seen.Decided(
        round=value.round,
        chain=chain,
        attempt=roster.ballot.attempt,
        leader=roster.ballot.leader,
        seats=tuple(
            seen.Seat(
                peer=seat.peer,
                region=seat.region,
                member=seat.member,
                tokens=seat.tokens,
                weight=weight,
                counted=number in counted,
            )
            for number, (seat, weight) in enumerate(zip(roster.seats, roster.weights, strict=True))
        ),
        votes=tuple(sorted({sealed.author for sealed in record.votes})),
        voters=0 if decided.voters is None else len(decided.voters.voters),
        state_digest=value.state_digest.hex(),
        accepting=None if quality is None else float(quality.accepting),
        rejecting=None if quality is None else float(quality.rejecting),
    )
