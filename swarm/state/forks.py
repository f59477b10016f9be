"""Where another peer's chain parts from this one's, and which of the two is the better.

Under quorum kind `available` both sides of a partition go on, so chains part. The better one is that of the higher term
(founders have restarted it); in one term the one with more weight since the fork; between equals the one whose first
record after the fork has the lower digest. The weight of a round is the number of members whose updates it counted:
passports that a member mints make no chain heavier, and all openly admitted peers are one member. Where the charter
has no members there is nobody whom they could outweigh, and each counts: a peer that goes on alone is quicker than many
that wait for each other, and with one a round its chain would soon be the heavier.

Everything is verified before it counts: records from the last one both have, under the electorate that one left.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from swarm.identity.peer_id import PeerId
from swarm.net.calls import Caller
from swarm.state.chain import Mark, kept_mark
from swarm.state.fetching import fetch_records
from swarm.state.records import Decided, Value
from swarm.state.roster import Roster
from swarm.state.run import Run
from swarm.state.store import Store


@dataclass(frozen=True)
class Fork:
    """Two chains that have one history up to `at`."""

    run: Run
    at: Mark
    ours: tuple[Decided, ...]
    theirs: tuple[Decided, ...]

    @property
    def weight_lost(self) -> int:
        return sum(weight_of(self.run, item.value, item.roster) for item in self.ours)

    @property
    def weight_won(self) -> int:
        return sum(weight_of(self.run, item.value, item.roster) for item in self.theirs)

    @property
    def is_theirs_better(self) -> bool:
        if not self.theirs:
            return False
        if not self.ours:
            return True
        terms = _term_of(self.theirs), _term_of(self.ours)
        weights = self.weight_won, self.weight_lost
        if terms[0] != terms[1]:
            return terms[0] > terms[1]
        if weights[0] != weights[1]:
            return weights[0] > weights[1]
        return self.theirs[0].digest < self.ours[0].digest


def weight_of(run: Run, value: Value, roster: Roster) -> int:
    """Members that are counted in at least one chunk of a round, or peers; nobody is in one that was rejected."""
    if value.is_rejected:
        return 0
    counted = {seat for bitmap in set(value.contributors) for seat in roster.contributors(bitmap)}
    if not run.genesis.charter.members:
        return len(counted)
    return len({roster.seats[seat].member for seat in counted})


async def find_fork(
    run: Run, store: Store, caller: Caller, donor: PeerId, *, our_round: int, their_round: int, first_look: int
) -> Fork | None:
    """How the chain of `donor` parts from the one in `store`; None if it gives nothing that verifies.

    Looks `first_look` rounds back, then twice as far each time, down to the charter.
    """
    back = first_look
    while True:
        start = max(0, min(our_round, their_round) - back)
        mark = kept_mark(run, store.load_record, start)
        if mark is not None:
            theirs, _ = await fetch_records(run, caller, donor, mark)
            if theirs:
                return _parted(run, store, mark, theirs, our_round)
        if start == 0:
            return None
        back *= 2


def _parted(run: Run, store: Store, mark: Mark, theirs: Sequence[Decided], our_round: int) -> Fork:
    """Leaves out what both have."""
    at, shared = mark, 0
    for item in theirs:
        ours = kept_mark(run, store.load_record, item.value.round)
        if ours is None or item.value.round > our_round or ours != Mark.after(run, item):
            break
        at, shared = ours, shared + 1
    return Fork(run, at, tuple(_kept_records(run, store, at, our_round)), tuple(theirs[shared:]))


def _kept_records(run: Run, store: Store, mark: Mark, last: int) -> list[Decided]:
    """This peer's own records after a point of its chain, up to round `last`."""
    found: list[Decided] = []
    while mark.round < last and (data := store.load_record(mark.round + 1)) is not None:
        found.append(mark.verify(run, data))
        mark = Mark.after(run, found[-1])
    return found


def _term_of(chain: Sequence[Decided]) -> int:
    voters = chain[-1].voters
    return 0 if voters is None else voters.term
