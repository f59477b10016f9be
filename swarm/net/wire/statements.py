"""What peers sign: statements that others must be able to check later. They travel inside `Sealed`."""

import msgspec

from swarm.identity.peer_id import PeerId
from swarm.net.wire.frame import Frame, Sealed


class Ballot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Orders proposals within a round (Paxos, Lamport 2001): by term, then by attempt."""

    attempt: int
    leader: PeerId
    term: int = 0
    """Number of the founders' restart in force; 0 until there is one."""

    @property
    def rank(self) -> tuple[int, int, PeerId]:
        return self.term, self.attempt, self.leader

    def __lt__(self, other: "Ballot") -> bool:
        return self.rank < other.rank

    def __le__(self, other: "Ballot") -> bool:
        return self.rank <= other.rank

    def __gt__(self, other: "Ballot") -> bool:
        return self.rank > other.rank

    def __ge__(self, other: "Ballot") -> bool:
        return self.rank >= other.rank


class Vote(Frame, frozen=True):
    """`author` holds exactly the bytes of this value and accepts it in this ballot."""

    run_id: str
    round: int
    ballot: Ballot
    value_digest: bytes


class Accepted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The highest vote a peer has cast in a round, with the value it was for."""

    ballot: Ballot
    value: bytes


class Join(Frame, frozen=True):
    """`author` is in this attempt; if it is an elector it promises to vote in no lower ballot of the round."""

    run_id: str
    round: int
    ballot: Ballot
    base_digest: bytes
    """State digest of the round before; peers on another base cannot be averaged."""
    passport: bytes
    contributes: bool
    """False: takes the result and votes, sends no update (nothing to give, or the gate said no)."""
    dialable: bool
    tokens: int
    up_bps: int
    """What this peer's link carries, as measured in earlier rounds; 0 while nothing has been."""
    down_bps: int
    accepted: Accepted | None
    tokens_per_s: float = 0.0
    """How fast this peer trains, so that everybody plans the same length of the next round; 0 while it is unknown."""


class Promise(Frame, frozen=True):
    """A witness's half of a join: the promise without the update."""

    run_id: str
    round: int
    ballot: Ballot
    accepted: Accepted | None


class Roster(Frame, frozen=True):
    """The leader's list of who is in: every join in it is sealed by its author."""

    run_id: str
    round: int
    ballot: Ballot
    joins: tuple[Sealed, ...]


class Proposal(Frame, frozen=True):
    """The leader of `ballot` asks for votes on one value."""

    run_id: str
    round: int
    ballot: Ballot
    value_digest: bytes


class Announcement(Frame, frozen=True):
    """A peer's entry in the directory."""

    run_id: str
    peer: PeerId
    region: str
    passport: bytes
    addresses: tuple[str, ...]
    round: int
    """The round it is working towards."""
    tokens: int
    tokens_per_s: float
    phase: str
    """"joining", "training", "ready" or "leaving"."""
    at: float
    """Unix seconds on the author's clock."""
    dialable: bool
    """Whether most of the peers it asked could dial it; True also while it has found nobody to ask."""
    relays: tuple[PeerId, ...]
    """Peers that join streams to it, if it cannot be dialled."""
