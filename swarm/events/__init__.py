"""Everything that can happen to a peer, as one frozen tagged union.

Dashboards, metrics, reports and tests read this one stream; nothing is logged as a sentence first. `Sink` receives each
event once, in order. Seconds are durations on the node's loop clock, bytes are payload bytes handed to the transport.
"""

from collections.abc import Callable

import msgspec

from swarm.events.base import Event
from swarm.events.governance import DocumentRefused, DocumentTaken, MembersEquivocated, RulesInForce
from swarm.events.peers import (
    BytesOut,
    CaughtUp,
    ChainsApart,
    ChainSwitched,
    CharterReady,
    CheckpointFailed,
    CheckpointSaved,
    ClockWrong,
    DirectoryKept,
    FirstCounted,
    FrameRefused,
    IslandBegan,
    IslandEnded,
    LedgerForked,
    NodeStarted,
    NodeStopped,
    Note,
    Reachable,
    Restarted,
    RestartRefused,
    SentTo,
    StateProgress,
    StateReady,
)
from swarm.events.rounds import (
    UNKNOWN_LOSS,
    AttemptStarted,
    ChunkTakenOver,
    PeerLost,
    PolicyInForce,
    PrivacyBudgetSpent,
    PrivacySpent,
    QuorumMissing,
    Reduced,
    RosterReady,
    RoundAborted,
    RoundCommitted,
    RoundInDoubt,
    RoundPlanned,
    RoundRejected,
    SecureSumEnded,
    TrainerReady,
    TrainerSetUp,
    TrainingProgress,
    UpdateDenied,
    UpdateLate,
    UpdateReady,
)

__all__ = [
    "AnyEvent",
    "AttemptStarted",
    "BytesOut",
    "CaughtUp",
    "ChainSwitched",
    "ChainsApart",
    "CharterReady",
    "CheckpointFailed",
    "CheckpointSaved",
    "ChunkTakenOver",
    "ClockWrong",
    "DirectoryKept",
    "DocumentRefused",
    "DocumentTaken",
    "Event",
    "FirstCounted",
    "FrameRefused",
    "IslandBegan",
    "IslandEnded",
    "LedgerForked",
    "MembersEquivocated",
    "NodeStarted",
    "NodeStopped",
    "Note",
    "PeerLost",
    "PrivacyBudgetSpent",
    "PrivacySpent",
    "QuorumMissing",
    "Reachable",
    "Reduced",
    "RestartRefused",
    "Restarted",
    "RosterReady",
    "RoundAborted",
    "RoundCommitted",
    "RoundInDoubt",
    "RoundPlanned",
    "SecureSumEnded",
    "RoundRejected",
    "RulesInForce",
    "SentTo",
    "Sink",
    "Stamped",
    "StateProgress",
    "StateReady",
    "TrainerReady",
    "TrainerSetUp",
    "TrainingProgress",
    "UNKNOWN_LOSS",
    "PolicyInForce",
    "UpdateDenied",
    "UpdateLate",
    "UpdateReady",
    "decode_line",
    "encode_line",
]

AnyEvent = (
    NodeStarted
    | CharterReady
    | Reachable
    | StateReady
    | StateProgress
    | TrainerReady
    | TrainingProgress
    | UpdateReady
    | PolicyInForce
    | UpdateDenied
    | PrivacySpent
    | PrivacyBudgetSpent
    | UpdateLate
    | RoundPlanned
    | TrainerSetUp
    | AttemptStarted
    | QuorumMissing
    | RosterReady
    | PeerLost
    | ChunkTakenOver
    | Reduced
    | RoundCommitted
    | RoundAborted
    | SecureSumEnded
    | RoundRejected
    | RoundInDoubt
    | CaughtUp
    | IslandBegan
    | IslandEnded
    | Restarted
    | RestartRefused
    | DocumentTaken
    | DocumentRefused
    | MembersEquivocated
    | RulesInForce
    | ChainSwitched
    | ChainsApart
    | ClockWrong
    | CheckpointSaved
    | CheckpointFailed
    | LedgerForked
    | FrameRefused
    | BytesOut
    | DirectoryKept
    | FirstCounted
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
