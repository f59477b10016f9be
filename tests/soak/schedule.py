"""What happens next in a soak: pure, from a random stream and where everybody stands.

Six times in ten a peer joins, otherwise one is killed. A join into a full swarm becomes a kill, and a kill that would
leave the last roster without a quorum becomes a join: losing a majority is one event of its own, not an accident.
Elders are never killed: growth over time can only be seen in a process that lives on.
"""

import random
from collections.abc import Set
from dataclasses import dataclass

JOIN_SHARE = 0.6
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 2.0
RETURN_SHARE = 0.5
"""Of the joins: somebody who was here before, under the same identity and with what is left on its disk."""
WHOLE_SHARE = 0.7
"""Of the kills: all of a peer at once; the others take one of its processes, and the rest must follow by itself."""
PARTS = ("node", "trainer", "daemon")


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
    witnesses: int
    """Always there."""
    most: int
    """Peers at a time."""

    @property
    def quorum(self) -> int:
        return (len(self.electors) + self.witnesses) // 2 + 1

    @property
    def spare(self) -> int:
        """Electors that can die before the quorum is gone; negative when it is."""
        return len(self.electors & self.alive & self.ready) + self.witnesses - self.quorum


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
    victims = _victims(stand)
    if can_join and (wants_join or not victims):
        back = _pick(stand.dead & stand.electors if stand.spare <= 0 else stand.dead, who)
        must_return = stand.spare <= 0 and back is not None
        return Join(back if must_return or how < RETURN_SHARE else None)
    if not victims:
        return None
    victim = _pick(victims, who)
    assert victim is not None
    return Kill(victim, None if how < WHOLE_SHARE else part)


def majority(draw: random.Random, stand: Stand) -> list[str] | None:
    """Electors whose death leaves no quorum, as few as possible; None if that would take an elder's."""
    needed = len(stand.electors & stand.alive) + stand.witnesses - stand.quorum + 1
    doomed = sorted(stand.electors & stand.alive - stand.elders)
    draw.shuffle(doomed)
    return doomed[:needed] if 0 < needed <= len(doomed) else None


def _victims(stand: Stand) -> Set[str]:
    """Who may die now: anybody but the elders, and electors only while one can be spared."""
    unneeded = stand.alive if stand.spare > 0 else stand.alive - stand.electors
    return unneeded - stand.elders


def _pick(names: Set[str], share: float) -> str | None:
    ordered = sorted(names)
    return ordered[int(share * len(ordered))] if ordered else None
