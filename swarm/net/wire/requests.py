"""What a stream begins with: who is there, and what is wanted. The answers to each are listed beside it."""

from swarm.identity.peer_id import PeerId
from swarm.net.wire.frame import Frame, Sealed
from swarm.net.wire.statements import Ballot
from swarm.sovereignty.signed import Signed


class Hello(Frame, frozen=True):
    """First frame of every stream. Both may be empty only before `GetCharter`."""

    run_id: str
    passport: bytes


class GetCharter(Frame, frozen=True):
    """Answered by `CharterIs`; this and `GetTime` are what a stranger may ask."""


class GetTime(Frame, frozen=True):
    """Answered by `TimeIs`."""


class GetStatus(Frame, frozen=True):
    """Answered by `Status`."""


class JoinRound(Frame, frozen=True):
    """Member to leader. Answered by `Waiting`*, then another `LeaderFrame`."""

    join: Sealed


class OpenReduce(Frame, frozen=True):
    """To chunks' owner. `Part`, `Sum` and `GetReduced` follow; a `ChunkResult` per chunk comes back, in any order."""

    round: int
    ballot: Ballot


class GetResults(Frame, frozen=True):
    """Chunks of the value with this digest. Answered by one `ChunkResult` or `Missing` per chunk, in order."""

    round: int
    value_digest: bytes
    chunks: tuple[int, ...]


class GetReduced(Frame, frozen=True):
    """What one attempt has produced so far, by chunk. Answered like `GetResults`."""

    round: int
    ballot: Ballot
    chunks: tuple[int, ...]


class GetRecords(Frame, frozen=True):
    """Answered by one `RecordIs` per round from `first` on, then `Missing`."""

    first: int


class GetState(Frame, frozen=True):
    """Answered by `StateIs`, then `StateChunk` for each wanted index in order, or by `Missing`."""

    round: int
    wanted: tuple[int, ...]


class Prepare(Frame, frozen=True):
    """Leader to witness. Answered by `PromiseIs` or `Refusal`, or as `AskVote` by a witness at another round."""

    round: int
    ballot: Ballot


class AskVote(Frame, frozen=True):
    """Leader to witness, with the votes of more than half of the roster. Answered by `CastVote` or `Refusal`.

    A witness that has not come to this round says `NeedRecords`; one that is past it gives its record, `RecordIs`.
    """

    proposal: Sealed
    value: bytes
    votes: tuple[Sealed, ...]


class CastQuality(Frame, frozen=True):
    """Anyone in a roster to its leader, and to every elector: a `QualityVote`. Not answered."""

    vote: Sealed


class NoQuality(Frame, frozen=True):
    """The same from a peer that has no vote on a candidate: nothing to score with, or not the bytes to score."""

    round: int
    candidate: bytes
    """Digest of the state that was to be scored."""


class CallToAttempt(Frame, frozen=True):
    """Leader of a later attempt to electors that are not in it yet. Not answered: who agrees joins."""

    round: int
    ballot: Ballot


class PushRecord(Frame, frozen=True):
    """Anyone to anyone: this round is committed. Not answered."""

    record: bytes


class PushRestarts(Frame, frozen=True):
    """Anyone to anyone: the founders' restarts that follow the last record, by term. Not answered."""

    documents: tuple[bytes, ...]


class ShowHead(Frame, frozen=True):
    """A peer's newest tree head, and what it countersigns of what the other end sent it (swarm.node.evidence).

    Answered by `ProveHead`, then it sends `HeadProof`.
    """

    head: Signed
    receipts: tuple[Signed, ...]


class GetRestarts(Frame, frozen=True):
    """Answered by `RestartsAre`: those of the newest restart this peer knows of."""


class Observe(Frame, frozen=True):
    """From somebody who watches and takes no part: this peer's `Summary`, and records from round `first` on.

    Answered by `Observed`, one `ObservedRecord` per round, then `Missing`; or by `Refusal`. 0 asks for no records.
    """

    first: int


class GetDocuments(Frame, frozen=True):
    """Answered by `DocumentsAre`. A stranger may ask: amendments and revocations are as public as the charter."""


class PushDocuments(Frame, frozen=True):
    """Anyone to anyone: amendments and revocations that may be new to it. Not answered."""

    documents: tuple[bytes, ...]


class Park(Frame, frozen=True):
    """From a peer that nobody can dial: keep this stream for whoever asks for me. `RelayFrom`, then `RelayData`."""


class RelayTo(Frame, frozen=True):
    """To a relay: join this stream to one that `peer` has parked. `RelayData` both ways, or `Refusal`."""

    peer: PeerId


Request = (
    GetCharter
    | GetTime
    | GetStatus
    | JoinRound
    | OpenReduce
    | GetResults
    | GetReduced
    | GetRecords
    | GetState
    | Prepare
    | AskVote
    | CastQuality
    | NoQuality
    | CallToAttempt
    | PushRecord
    | PushRestarts
    | ShowHead
    | GetRestarts
    | GetDocuments
    | PushDocuments
    | Observe
    | Park
    | RelayTo
)
