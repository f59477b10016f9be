"""Whether this peer can reach a quorum at all: known from who answers after a failed attempt, never from a guess.

A peer that cannot is on an island. It commits nothing, says so once with who is missing, and goes on training locally
where the charter lets it, until a round commits here or it has caught up. Electors that cannot be dialled answer by
announcing themselves. While nobody was asked, everybody counts as present.
"""

from collections.abc import Set
from dataclasses import dataclass, field

from swarm.identity.peer_id import PeerId
from swarm.state.electorate import Electorate


@dataclass
class Island:
    """What is known of one open round."""

    silent: set[PeerId] = field(default_factory=set[PeerId])
    """Electors that did not answer when they were asked last, or are undialable and have not announced themselves."""
    is_said: bool = False
    updates: int = 0
    """Times the trainer was sent on."""

    def learn(self, asked: Set[PeerId], answered: Set[PeerId]) -> None:
        self.silent |= asked
        self.silent -= answered

    def missing(self, electorate: Electorate) -> frozenset[PeerId]:
        """The silent ones, if those that are left are no quorum; nobody otherwise, or where fewer may go on."""
        there = electorate.voters - self.silent
        if electorate.may_thin or electorate.has_quorum(there):
            return frozenset()
        return electorate.voters - there
