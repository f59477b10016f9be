"""What happens next in a soak: pure, from a random stream and where everybody stands.

Six times in ten a peer joins, otherwise one is killed. A join into a full swarm becomes a kill, and a kill that would
leave the last roster without a quorum becomes a join: losing a majority is one event of its own, not an accident.
Elders are never killed: growth over time can only be seen in a process that lives on. Voices are counted as the swarm
counts them (`swarm.state.voices`): a member has one, however many peers it brings.
"""

import random
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass

from swarm.identity.peer_id import PeerId
from swarm.state.voices import voices

JOIN_SHARE = 0.6
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 2.0
RETURN_SHARE = 0.5
"""Of the joins: somebody who was here before, under the same identity and with what is left on its disk."""
WHOLE_SHARE = 0.7
"""Of the kills: all of a peer at once; the others take one of its processes, and the rest must follow by itself."""
PARTS = ("node", "trainer", "daemon")
WITNESS = PeerId("the bootstrap node")


@dataclass(frozen=True)
class Stand:
    """Where everybody stands, by name."""

    alive: Set[str]
    dead: Set[str]
    """Were here before and can come back."""
    elders: Set[str]
    electors: Set[str]
    """Peers of the last committed roster."""
    ready: Set[str]
    """Of the living: those that hold a verified state."""
    members: Mapping[str, str]
    """The member of each peer."""
    most: int
    """Peers at a time."""

    @property
    def unneeded(self) -> Set[str]:
        """Of the living: whose death alone leaves a quorum, electors and others."""
        left = self.electors & self.alive & self.ready
        return {name for name in self.alive if name not in self.electors or self.has_quorum(left - {name})}

    @property
    def is_thin(self) -> bool:
        """Whether no elector can be spared."""
        return not self.unneeded & self.electors & self.ready

    def has_quorum(self, left: Set[str]) -> bool:
        """Whether these electors commit, with the witness that is always there."""
        peers = [PeerId(name) for name in self.electors]
        counted = voices(peers, [WITNESS], {PeerId(name): member for name, member in self.members.items()})
        return counted.is_majority({*(PeerId(name) for name in left), WITNESS})


@dataclass(frozen=True)
class Join:
    name: str | None
    """Who comes back; None for somebody new."""


@dataclass(frozen=True)
class Kill:
    name: str
    part: str | None
    """One of PARTS, or None for the whole peer."""


def pause_s(draw: random.Random) -> float:
    return draw.uniform(SHORTEST_PAUSE_S, LONGEST_PAUSE_S)


def decide(draw: random.Random, stand: Stand) -> Join | Kill | None:
    """The next thing to happen; None if nobody can join and nobody can be spared."""
    wants_join = draw.random() < JOIN_SHARE
    # Drawn in any case, so that what comes later in the stream does not hang on what is possible now.
    who, how, part = draw.random(), draw.random(), draw.choice(PARTS)
    can_join = len(stand.alive) < stand.most
    victims = stand.unneeded - stand.elders
    if can_join and (wants_join or not victims):
        back = _pick(stand.dead & stand.electors if stand.is_thin else stand.dead, who)
        must_return = stand.is_thin and back is not None
        return Join(back if must_return or how < RETURN_SHARE else None)
    if not victims:
        return None
    victim = _pick(victims, who)
    assert victim is not None
    # A node that loses its daemon while both come up starts another one, and lives: parts die of those that are up.
    return Kill(victim, None if how < WHOLE_SHARE or victim not in stand.ready else part)


def majority(draw: random.Random, stand: Stand) -> list[str] | None:
    """Electors whose death leaves no quorum, none of them in vain; None if that would take an elder's."""
    left = stand.electors & stand.alive
    if not stand.has_quorum(left):
        return None
    order = sorted(left - stand.elders)
    draw.shuffle(order)
    doomed: list[str] = []
    while order and stand.has_quorum(left - set(doomed)):
        doomed.append(order.pop())
    if stand.has_quorum(left - set(doomed)):
        return None
    for name in tuple(doomed):
        if not stand.has_quorum(left - (set(doomed) - {name})):
            doomed.remove(name)
    return doomed


def crowded(stand: Stand) -> str | None:
    """Who can be spared, is no elder, and is one of most peers of its member; None if nobody can be spared."""
    sizes = Counter(stand.members[name] for name in stand.alive)
    return max(stand.unneeded - stand.elders, key=lambda name: (sizes[stand.members[name]], name), default=None)


def _pick(names: Set[str], share: float) -> str | None:
    ordered = sorted(names)
    return ordered[int(share * len(ordered))] if ordered else None
