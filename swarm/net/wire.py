"""Every frame peers exchange: typed msgpack, each with a maximum size, each number checked where it is used.

A stream begins with `Hello`, then one request. What follows depends on the request and is listed beside it. Statements
that others must be able to check later travel inside `Sealed`: the exact bytes that were signed, so nothing has to be
re-encoded to verify them.
"""

from types import UnionType
from typing import Any, TypeVar, overload

import msgspec

from swarm.errors import ProtocolError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId, verify
from swarm.net.transport import Buffer

KIB = 1024
MAX_HELLO_BYTES = 8 * KIB
MAX_REQUEST_BYTES = 64 * KIB
MAX_CHARTER_BYTES = 1024 * KIB
MAX_CONTROL_BYTES = 64 * KIB * KIB
"""Rosters, proposals and records list every chunk: 64 MiB holds a million of them."""
MAX_CHUNK_OVERHEAD_BYTES = 4 * KIB
MAX_ANNOUNCEMENT_BYTES = 4 * KIB
MAX_ROUND = 2**40
MAX_PEERS = 4096


class Frame(msgspec.Struct, frozen=True, tag=True, tag_field="t", array_like=False, forbid_unknown_fields=True):
    """Base of everything on the wire."""


class Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A statement with its author's signature over exactly `payload`."""

    author: PeerId
    payload: bytes
    signature: bytes


# --- statements (always sealed) ---------------------------------------------------------------------------------------


class Ballot(msgspec.Struct, frozen=True, order=True, forbid_unknown_fields=True):
    """Orders proposals within a round (Paxos, Lamport 2001)."""

    attempt: int
    leader: PeerId


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


# --- stream openings --------------------------------------------------------------------------------------------------


class Hello(Frame, frozen=True):
    """First frame of every stream. Both may be empty only before `GetCharter`."""

    run_id: str
    passport: bytes


class GetCharter(Frame, frozen=True):
    """Answered by `CharterIs`; the one request a stranger may make."""


class GetStatus(Frame, frozen=True):
    """Answered by `Status`."""


class JoinRound(Frame, frozen=True):
    """Member to leader. Answered by `Waiting`*, then `RosterClosed`, `Propose`, `Committed` or `Refusal`."""

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


class CallToAttempt(Frame, frozen=True):
    """Leader of a later attempt to electors that are not in it yet. Not answered: who agrees joins."""

    round: int
    ballot: Ballot


class PushRecord(Frame, frozen=True):
    """Anyone to anyone: this round is committed. Not answered."""

    record: bytes


Request = (
    GetCharter
    | GetStatus
    | JoinRound
    | OpenReduce
    | GetResults
    | GetReduced
    | GetRecords
    | GetState
    | Prepare
    | AskVote
    | CallToAttempt
    | PushRecord
)


# --- answers ----------------------------------------------------------------------------------------------------------


class Refusal(Frame, frozen=True):
    """The other end says no; `code` is stable, `reason` is for people."""

    code: str
    reason: str


class Missing(Frame, frozen=True):
    """What was asked for is not here."""


class CharterIs(Frame, frozen=True):
    charter: bytes


class Status(Frame, frozen=True):
    """`head` is the last committed round, `head_digest` its record's digest (empty for round 0)."""

    head: int
    head_digest: bytes
    attempt: int
    phase: str


class Waiting(Frame, frozen=True):
    """The leader is alive and still collecting, reducing or counting."""

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


class PromiseIs(Frame, frozen=True):
    promise: Sealed


class Committed(Frame, frozen=True):
    record: bytes


class Part(Frame, frozen=True):
    """One chunk of one peer's encoded update. Who withholds its update asks for results with `GetReduced` instead."""

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


class RecordIs(Frame, frozen=True):
    record: bytes


class StateIs(Frame, frozen=True):
    """The Merkle leaves of a state, to be checked against the digest in its commit record."""

    leaves: tuple[bytes, ...]


class StateChunk(Frame, frozen=True):
    index: int
    data: bytes


LeaderFrame = Waiting | RosterClosed | Propose | Committed | Refusal

F = TypeVar("F")
S = TypeVar("S", bound=Frame)


def encode(frame: Frame) -> bytes:
    """A frame as msgpack bytes."""
    return _ENCODER.encode(frame)


@overload
def decode(data: Buffer, expected: type[F]) -> F: ...
@overload
def decode(data: Buffer, expected: UnionType) -> Any: ...
def decode(data: Buffer, expected: Any) -> Any:
    """Bytes from a stranger as one of the expected frames (a class or a union of classes).

    Raises:
        ProtocolError: truncated, mistyped, or a frame that is not expected here.
    """
    decoder = _DECODERS.get(expected)
    if decoder is None:
        decoder = _DECODERS[expected] = msgspec.msgpack.Decoder(expected)
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # text and nesting are a stranger's too
        raise ProtocolError(f"bad frame: {error}") from None


def encode_sealed(sealed: Sealed) -> bytes:
    """A sealed statement as bytes that stand alone, as in the directory; `decode(data, Sealed)` reads them."""
    return _ENCODER.encode(sealed)


def seal(identity: Identity, statement: Frame) -> Sealed:
    """Signs a statement; the class name is the signature's domain."""
    payload = encode(statement)
    return Sealed(identity.peer_id, payload, identity.sign(type(statement).__name__, payload))


def unseal(sealed: Sealed, expected: type[S]) -> S:
    """The statement inside, after checking its author's signature.

    Raises:
        ProtocolError: the signature is wrong, or it is another kind of statement.
    """
    if not verify(sealed.author, sealed.signature, expected.__name__, sealed.payload):
        raise ProtocolError(f"{expected.__name__} with a signature that is not its author's")
    return decode(sealed.payload, expected)


_ENCODER = msgspec.msgpack.Encoder()
_DECODERS: dict[object, msgspec.msgpack.Decoder[Any]] = {}
