"""How much each voter counts: members count, never peers, since a member gives passports to as many peers as it likes.

    a member                          one voice, split evenly among its peers
    all openly admitted peers         one member
    a witness that a charter names    a voice of its own, and so has a peer whose member nobody names
    an electorate of one member       its one voice, split evenly among its peers and the witnesses

Beside a single member a witness has no voice of its own: with one, each witness would be needed for every commit.

More than half of all voices is a majority. Every voter's share is fixed for an electorate and nobody's is counted
twice, so two majorities always have a voter in common: what Paxos needs, and all it needs. Whole numbers only.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from swarm.identity.peer_id import PeerId


@dataclass(frozen=True, eq=False)
class Voices:
    """The shares of one electorate."""

    shares: Mapping[PeerId, int]
    """Of each voter, in parts of a voice."""
    parts: int
    """Parts that make a voice."""

    @property
    def all(self) -> int:
        """How many voices there are."""
        return sum(self.shares.values()) // self.parts

    def count(self, peers: Iterable[PeerId]) -> Fraction:
        """The voices of these peers together; a peer that has none counts for nothing."""
        return Fraction(self._parts_of(peers), self.parts)

    def is_majority(self, peers: Iterable[PeerId], among: Iterable[PeerId] | None = None) -> bool:
        """Whether these have more than half of all voices, or of the voices of `among`, of whom they are some."""
        total = sum(self.shares.values()) if among is None else self._parts_of(among)
        return 2 * self._parts_of(peers) > total

    def _parts_of(self, peers: Iterable[PeerId]) -> int:
        return sum(self.shares.get(peer, 0) for peer in set(peers))


def voices(peers: Collection[PeerId], witnesses: Collection[PeerId], members: Mapping[PeerId, str]) -> Voices:
    """The shares of an electorate; `members` names each peer's member, where it is known."""
    of_members = {peer: members[peer] for peer in peers if peer in members and peer not in witnesses}
    alone = {*peers, *witnesses} - of_members.keys()
    sizes = Counter(of_members.values())
    if len(sizes) == 1 and alone <= set(witnesses):
        voters = {*peers, *witnesses}
        return Voices(dict.fromkeys(voters, 1), len(voters))
    parts = math.lcm(*sizes.values())
    return Voices(
        {peer: parts // sizes[member] for peer, member in of_members.items()} | dict.fromkeys(alone, parts), parts
    )
