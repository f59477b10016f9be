"""Everything that can happen to a peer, as one frozen tagged union.

Dashboards, metrics, reports and tests read this one stream; nothing is logged as a sentence first. `Sink` receives each
event once, in order. Seconds are durations on the node's loop clock, bytes are payload bytes handed to the transport.
"""

from collections.abc import Callable

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=True):
    """Base of all events; `event` in JSON is the class name."""


class NodeStarted(Event, frozen=True, kw_only=True):
    peer: str
    run_id: str
    region: str
    member: str
    address: str
    """What others type after --join."""
    min_contributors: int
    electors: int
    witnesses: int
    admission: str


class CharterReady(Event, frozen=True, kw_only=True):
    """The charter is verified and saved; the trainer can be started."""

    path: str
    run_id: str
    parameters: int
    trust: str
    """"pinned" by --run-id, "remembered" from an earlier start, or "first use"."""


class StateReady(Event, frozen=True, kw_only=True):
    """The Shared Base is here and its digest is the one a quorum signed."""

    round: int
    digest: str
    source: str
    """"disk", "replay" or "download"."""
    bytes_received: int
    seconds: float


class TrainerReady(Event, frozen=True, kw_only=True):
    isolation: str
    """What the trainer's process can reach: "network namespace" or "none"."""
    detail: str


UNKNOWN_LOSS = float("nan")
"""The loss of a trainer that reports none, or no finite number; JSON has no NaN, so the field is left out there."""


class TrainingProgress(Event, frozen=True, kw_only=True, omit_defaults=True):
    round: int
    step: int
    loss: float = UNKNOWN_LOSS
    tokens: int
    tokens_per_s: float


class UpdateReady(Event, frozen=True, kw_only=True, omit_defaults=True):
    round: int
    tokens: int
    loss: float = UNKNOWN_LOSS
    steps: int


class UpdateDenied(Event, frozen=True, kw_only=True):
    """The gate said no: nothing leaves this round."""

    round: int
    code: str
    reason: str


class UpdateLate(Event, frozen=True, kw_only=True):
    """The swarm committed the round before this update was ready; these inner steps are dropped."""

    round: int
    tokens: int


class AttemptStarted(Event, frozen=True, kw_only=True):
    round: int
    attempt: int
    leader: str


class QuorumMissing(Event, frozen=True, kw_only=True):
    """Too few electors answer; nothing can be committed until more come back."""

    round: int
    present: int
    needed: int
    electors: int
    missing: tuple[str, ...]
    """Who must come back, as many of them as are needed."""


class RosterReady(Event, frozen=True, kw_only=True):
    round: int
    attempt: int
    leader: str
    peers: tuple[str, ...]
    form_s: float


class PeerLost(Event, frozen=True, kw_only=True):
    """A peer stopped answering during a round; `role` is what it was doing for us."""

    round: int
    peer: str
    role: str
    reason: str


class ChunkTakenOver(Event, frozen=True, kw_only=True):
    """A chunk's owner failed and the next peer in order reduces it."""

    round: int
    chunk: int
    owner: str


class Reduced(Event, frozen=True, kw_only=True):
    round: int
    attempt: int
    chunks: int
    reduce_s: float


class RoundCommitted(Event, frozen=True, kw_only=True):
    round: int
    attempt: int
    peers: tuple[str, ...]
    contributors: tuple[str, ...]
    """Peers counted in at least one chunk."""
    voters: int
    """Who votes on the next round, witnesses included."""
    state_digest: str
    seconds: float
    """From this peer's update to its new base."""


class RoundAborted(Event, frozen=True, kw_only=True):
    round: int
    attempt: int
    reason: str


class RoundInDoubt(Event, frozen=True, kw_only=True):
    """This peer voted and holds no record yet: it keeps its inputs, takes no step, and asks."""

    round: int
    attempt: int


class CaughtUp(Event, frozen=True, kw_only=True):
    """Rounds committed without this peer were replayed or downloaded."""

    from_round: int
    to_round: int
    replayed: bool


class FrameRefused(Event, frozen=True, kw_only=True):
    """A peer sent something the protocol forbids; its stream was closed and nothing else changed."""

    peer: str
    reason: str


class BytesOut(Event, frozen=True, kw_only=True):
    """Ledger totals since the node started."""

    round: int
    by_kind: dict[str, int]
    peers: int
    """Peers heard from in the directory, this one included."""


class Note(Event, frozen=True, kw_only=True):
    """Something a person may want to read that no decision depends on."""

    text: str


class NodeStopped(Event, frozen=True, kw_only=True):
    round: int
    saved: str
    """What was saved and where, in words."""


AnyEvent = (
    NodeStarted
    | CharterReady
    | StateReady
    | TrainerReady
    | TrainingProgress
    | UpdateReady
    | UpdateDenied
    | UpdateLate
    | AttemptStarted
    | QuorumMissing
    | RosterReady
    | PeerLost
    | ChunkTakenOver
    | Reduced
    | RoundCommitted
    | RoundAborted
    | RoundInDoubt
    | CaughtUp
    | FrameRefused
    | BytesOut
    | Note
    | NodeStopped
)

Sink = Callable[[AnyEvent], None]


class Stamped(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an event file."""

    at: float
    """Unix seconds."""
    event: AnyEvent


def encode_line(at: float, event: AnyEvent) -> bytes:
    """One JSON line, newline included."""
    return msgspec.json.encode(Stamped(at=at, event=event)) + b"\n"


def decode_line(line: bytes) -> Stamped:
    """The event in a line made by `encode_line`. Raises msgspec.DecodeError for anything else."""
    return _DECODER.decode(line)


_DECODER = msgspec.json.Decoder(Stamped)
