"""What peers sign: statements that others must be able to check later. They travel inside `Sealed`."""

import msgspec

from swarm.charter.epochs import GENESIS_RULES, RulesId
from swarm.identity.peer_id import PeerId
from swarm.net.wire.frame import Frame, Sealed
from swarm.sovereignty.privacy import Spent


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


class QualityVote(Frame, frozen=True):
    """`author` has scored the state with digest `candidate`, which would follow `base_digest`, on held-out data."""

    run_id: str
    round: int
    base_digest: bytes
    candidate: bytes
    accepts: bool
    change_percent: int | None
    """How much higher the loss is, in whole per cent; None where it is withheld, since the data is private."""


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
    mask_key: bytes = b""
    """Fresh X25519 key of who contributes to a secure sum; of no use after this attempt."""
    rules: RulesId = GENESIS_RULES
    """Epoch and revocation list that this peer holds to in this attempt."""
    privacy: Spent | None = None
    """What differential privacy has cost this peer's data so far, its update in this round included."""


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
    rules: RulesId = GENESIS_RULES
    """Under which it was closed; those of every join in it."""


class PartsKept(Frame, frozen=True):
    """A receipt: `author` holds every masked part, or sum, of `sender` that it owns the chunk of."""

    run_id: str
    group: bytes
    """Names one attempt's secure sum: run, round, roster and ranges (swarm.vector.masks)."""
    sender: PeerId
    digest: bytes
    """BLAKE3 over number and bytes of each chunk, in the order sent."""


class AllKept(Frame, frozen=True):
    """`author` has every receipt it needs, and will reveal its self-mask once all that give have said this."""

    run_id: str
    group: bytes


class SelfMask(Frame, frozen=True):
    """The self-mask of `author`; its update is spent from here on, whatever becomes of the sum."""

    run_id: str
    group: bytes
    seed: bytes


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
    privacy: Spent | None = None
    """What differential privacy has cost this peer's data so far; None if it trains without."""


class KindSent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes of one kind of the ledger since this node started."""

    kind: str
    bytes: int


class SentTo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes that went to one peer since this node started."""

    peer: PeerId
    region: str
    """Empty for a bootstrap node, whose region nobody states."""
    bytes: int


class RoundTold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one of the last rounds went, as this peer saw it."""

    round: int
    at: float
    """Unix seconds of its commit here."""
    seconds: float
    form_s: float | None
    reduce_s: float | None
    inside_bytes: int | None
    """Sent inside the region since this node started, when the round ended; likewise `across_bytes`."""
    across_bytes: int | None
    loss: float | None
    tokens: int


class Summary(Frame, frozen=True):
    """What a peer publishes of itself to those who watch: figures, nothing that training made. Self-reported.

    `links` is for the consortium: it stays empty for strangers, like the recipients in an export of the ledger.
    """

    run_id: str
    at: float
    """Unix seconds on the author's clock."""
    round: int
    """The last round it has committed."""
    isolation: str
    reach: str
    tokens_per_s: float
    loss: float | None
    """None where the peer's data is private, or its trainer reports none."""
    sent: tuple[KindSent, ...]
    refused: int
    """Frames of others that broke the protocol."""
    denied: int
    """Updates that the gate kept back."""
    aborted: int
    epsilon: float | None
    """Of differential privacy, spent so far; None where none is used."""
    delta: float
    rounds: tuple[RoundTold, ...]
    links: tuple[SentTo, ...]
