"""Who votes on a round, how many of them are a quorum, and whose turn it is to lead an attempt.

All of it follows from the record before (or the charter), so every peer computes the same.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from swarm.identity.peer_id import PeerId
from swarm.net.wire import Ballot
from swarm.state.roster import Roster
from swarm.state.run import Run

_REMEMBERED_BALLOTS = 64


@dataclass(frozen=True)
class Electorate:
    """Who votes on a round. Every quorum is more than half of them."""

    peers: frozenset[PeerId]
    """Peers of the last committed roster, or the charter's genesis."""
    witnesses: frozenset[PeerId]
    """Charter witnesses: they vote and never reduce."""
    undialable: frozenset[PeerId] = frozenset()

    @property
    def voters(self) -> frozenset[PeerId]:
        return self.peers | self.witnesses

    @property
    def quorum(self) -> int:
        return len(self.voters) // 2 + 1

    def has_quorum(self, peers: Iterable[PeerId]) -> bool:
        """Whether enough of `peers` vote."""
        return len(self.voters.intersection(peers)) >= self.quorum

    def ballot(self, run_id: str, round_number: int, attempt: int) -> Ballot:
        """The ballot of an attempt: its leader is first by hash(run, round, attempt, peer), dialable peers first.

        Witnesses never lead: they hold no state.
        """
        return _ballot(self, run_id, round_number, attempt)

    def has_ballot(self, run_id: str, round_number: int, ballot: Ballot) -> bool:
        """Whether a ballot names the leader everybody computes for its attempt."""
        return ballot.attempt >= 1 and ballot == self.ballot(run_id, round_number, ballot.attempt)

    @classmethod
    def genesis(cls, run: Run) -> "Electorate":
        genesis = run.charter.genesis
        return cls(frozenset(genesis.peers), frozenset(genesis.witnesses))

    @classmethod
    def after(cls, run: Run, roster: Roster) -> "Electorate":
        """The electorate of the round after one that committed with this roster."""
        undialable = frozenset(seat.peer for seat in roster.seats if not seat.dialable)
        return cls(frozenset(roster.peers), frozenset(run.charter.genesis.witnesses), undialable)


def few_of(peers: Sequence[PeerId], most: int, salt: str) -> list[PeerId]:
    """At most so many of `peers`, others for every salt; all of them in their order if there are no more."""
    if len(peers) <= most:
        return list(peers)
    return sorted(peers, key=lambda peer: hashlib.sha256(f"{salt}/{peer}".encode()).digest())[:most]


@lru_cache(_REMEMBERED_BALLOTS)
def _ballot(electorate: Electorate, run_id: str, round_number: int, attempt: int) -> Ballot:
    """Asked for by every join, value and frame of an attempt, and a hash per elector each time."""

    def place(peer: PeerId) -> tuple[bool, bytes]:
        text = f"{run_id}/{round_number}/{attempt}/{peer}"
        return peer in electorate.undialable, hashlib.sha256(text.encode()).digest()

    return Ballot(attempt, min(electorate.peers, key=place))
