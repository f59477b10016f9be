"""What follows from the withdrawal of a data set: the rounds it is in, every base after them, and the last one before.

Pure: from what peers have on record (sessions, decisions of the gate, the chain of commits) to a report. A round is
affected if a peer's update in it was made while the data set was in use there; whether the update was counted is the
commit record's to say. Every base from the first affected round on is made from the data set, since each is made from
the one before. Where it is not known whose records these are, every update counts as counted: never too few.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from swarm.identity.peer_id import PeerId
from swarm.sovereignty.decisions import Decision
from swarm.sovereignty.trained import Session


@dataclass(frozen=True)
class Round:
    """One committed round."""

    number: int
    record: str
    """Hex digest of its commit record."""
    basis: str
    """The state before it and the attempt that was committed, as decisions name them."""
    state: str
    """Hex state digest after it."""
    peers: tuple[PeerId, ...]
    """Its roster: who held the new base at once."""
    counted: frozenset[PeerId]
    """Whose updates are in at least one chunk."""


@dataclass(frozen=True)
class Trail:
    """What one peer has on record of its own training."""

    place: str
    """Where it was read, for messages."""
    peer: PeerId | None
    sessions: tuple[Session, ...]
    updates: tuple[tuple[int, Decision], ...]
    """Updates the gate let out, with the number of their entry in the ledger."""
    faults: tuple[str, ...] = ()
    """What in these records does not hold, in words."""


@dataclass(frozen=True)
class Contribution:
    """One counted update that was made from the data set."""

    round: int
    peer: PeerId | None


@dataclass(frozen=True)
class Base:
    """A Shared Base, by the round it came out of; round 0 is the charter's state 0."""

    round: int
    record: str
    """Hex digest of the commit record; empty for round 0."""
    state: str


@dataclass(frozen=True)
class Impact:
    """The report."""

    dataset: str
    artefacts: tuple[str, ...]
    """Ids under which it is on record, one for each content it has had."""
    contributions: tuple[Contribution, ...]
    last_clean: Base
    affected: tuple[Base, ...]
    """Every base made from it, directly or through the one before."""
    holders: tuple[PeerId, ...]
    """Peers whose rosters show that they were given one of those."""
    faults: tuple[str, ...]


def impact(dataset: str, trails: Sequence[Trail], chain: Sequence[Round], zero: Base) -> Impact:
    """What the withdrawal of a data set means for a chain of rounds that begins after `zero`."""
    contributions = tuple(
        Contribution(round_.number, trail.peer)
        for round_ in chain
        for trail in trails
        if _is_affected(dataset, trail, round_)
    )
    first = min((each.round for each in contributions), default=None)
    affected = [round_ for round_ in chain if first is not None and round_.number >= first]
    clean = [zero, *(_base(round_) for round_ in chain if first is None or round_.number < first)]
    ids = {
        artefact.artifact_id
        for trail in trails
        for session in trail.sessions
        for artefact in session.data
        if artefact.source == dataset
    }
    return Impact(
        dataset=dataset,
        artefacts=tuple(sorted(ids)),
        contributions=contributions,
        last_clean=clean[-1],
        affected=tuple(_base(round_) for round_ in affected),
        holders=tuple(sorted({peer for round_ in affected for peer in round_.peers})),
        faults=tuple(fault for trail in trails for fault in trail.faults),
    )


def session_of(sessions: Sequence[Session], entry: int) -> Session | None:
    """The session that an entry of the ledger falls into."""
    begun = [session for session in sessions if session.entry <= entry]
    return max(begun, key=lambda session: session.entry, default=None)


def _is_affected(dataset: str, trail: Trail, round_: Round) -> bool:
    if trail.peer is not None and trail.peer not in round_.counted:
        return False
    for entry, decision in trail.updates:
        if (decision.round, decision.basis) != (round_.number, round_.basis):
            continue
        session = session_of(trail.sessions, entry)
        if session is None or session.uses(dataset):  # what no session explains may be of any data
            return True
    return False


def _base(round_: Round) -> Base:
    return Base(round_.number, round_.record, round_.state)
