"""What comes back on a stream, and what flows on it afterwards."""

from swarm.identity.peer_id import PeerId
from swarm.net.wire.frame import Frame, Sealed
from swarm.sovereignty.signed import Signed


class Refusal(Frame, frozen=True):
    """The other end says no; `code` is stable, `reason` is for people."""

    code: str
    reason: str


class Missing(Frame, frozen=True):
    """What was asked for is not here."""


class ProveHead(Frame, frozen=True):
    """The receipts are kept; the newest head of that ledger here is over `size` entries, 0 if there is none."""

    size: int
    receipts: tuple[Signed, ...]
    """For the other end, kept by it before it answers."""


class HeadProof(Frame, frozen=True):
    """RFC 9162 consistency proof between the head shown and the one that is known; empty where there is none."""

    hashes: tuple[bytes, ...]


class CharterIs(Frame, frozen=True):
    charter: bytes


class TimeIs(Frame, frozen=True):
    at: float
    """Unix seconds on the clock of whoever answers."""


class Status(Frame, frozen=True):
    """`head` is the last committed round, `head_digest` its record's digest (empty for round 0)."""

    head: int
    head_digest: bytes
    attempt: int
    phase: str
    term: int = 0
    """Number of the founders' restart in force."""


class Waiting(Frame, frozen=True):
    """The leader is alive and still collecting, reducing or counting.

    From a donor, with zeros: the next piece of the state waits for its turn on the uplink.
    """

    joined: int
    expected: int


class RosterClosed(Frame, frozen=True):
    roster: Sealed


class Propose(Frame, frozen=True):
    proposal: Sealed
    value: bytes


class NeedRecords(Frame, frozen=True):
    """The witness has to be told the records from round `first` on (`PushRecord`) before it can answer."""

    first: int


class CastVote(Frame, frozen=True):
    vote: Sealed


class AskQuality(Frame, frozen=True):
    """Leader to guests: what do you say of the state that the results with these digests lead to?

    `CastQuality` or `NoQuality`, to the leader and to every elector."""

    chunk_digests: tuple[bytes, ...]
    candidate: bytes
    """Digest of that state."""


class PromiseIs(Frame, frozen=True):
    promise: Sealed


class Committed(Frame, frozen=True):
    record: bytes


class Part(Frame, frozen=True):
    """One chunk of one peer's encoded update, or of its masked one where the charter says secure sums.

    Who withholds its update asks for results with `GetReduced` instead.
    """

    chunk: int
    data: memoryview


class Sum(Frame, frozen=True):
    """The encoded mean of one chunk over a group's `contributors` (a bitmap over the roster), from that group's owner.

    It counts with the sum of their weights.
    """

    chunk: int
    contributors: bytes
    data: memoryview


class ChunkResult(Frame, frozen=True):
    """The encoded mean of a chunk; bit i of `contributors` is set if roster member i is in it."""

    chunk: int
    contributors: bytes
    data: memoryview


class KeptIs(Frame, frozen=True):
    """`PartsKept` of a lane's owner, for the one who sent the parts."""

    receipt: Sealed


class AllKeptIs(Frame, frozen=True):
    """Somebody's `AllKept`, from its author or passed on."""

    statement: Sealed


class SelfMaskIs(Frame, frozen=True):
    """Somebody's `SelfMask`, from its author or passed on to those who sum the same parts."""

    statement: Sealed


class RecordIs(Frame, frozen=True):
    record: bytes


class Observed(Frame, frozen=True):
    """The author's own `Summary`, and the round of its newest record; a bootstrap node has no summary."""

    summary: Sealed | None
    head: int


class ObservedRecord(Frame, frozen=True):
    """A commit record for somebody who takes no part."""

    record: bytes


class RelayFrom(Frame, frozen=True):
    """A relay, on a parked stream: `peer` is at the other end from now on. Whether it is has to be proven by itself."""

    peer: PeerId


class RelayData(Frame, frozen=True):
    """What one end of a relayed stream says to the other; the relay cannot read it."""

    data: memoryview


class RelayKey(Frame, frozen=True):
    """A statement: `author` opens (or answers) a relayed stream with `peer`, under this fresh X25519 key."""

    run_id: str
    peer: PeerId
    key: bytes
    answers: bytes
    """The key of the one who opens; empty in its own statement."""
    punches: bool
    """Whether the stream is there to arrange a direct connection (punch.py), and for nothing else."""


class RestartsAre(Frame, frozen=True):
    """Founders' restarts, by term; each verifies from the charter alone."""

    documents: tuple[bytes, ...]


class DocumentsAre(Frame, frozen=True):
    """Amendments and revocations held there, in no order; each verifies from the charter and those before it."""

    documents: tuple[bytes, ...]


class StateIs(Frame, frozen=True):
    """The Merkle leaves of a state, to be checked against the digest in its commit record."""

    leaves: tuple[bytes, ...]


class StateChunk(Frame, frozen=True):
    index: int
    data: bytes


LeaderFrame = Waiting | RosterClosed | AskQuality | Propose | Committed | RestartsAre | DocumentsAre | Refusal
