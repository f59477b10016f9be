"""What can leave a machine, by kind, and the permission without which nothing does."""

from dataclasses import InitVar, dataclass
from enum import StrEnum

from swarm.identity.peer_id import PeerId


class Kind(StrEnum):
    """What a frame is, as the ledger names it."""

    HELLO = "hello"
    REQUEST = "request"
    CONTROL = "control"
    VOTE = "vote"
    ANNOUNCE = "announce"
    CHARTER = "charter"
    RECORD = "record"
    STATE = "state"
    EVIDENCE = "evidence"
    RELAYED = "relayed"
    """Encrypted for somebody else: from one end of a relayed stream, or passed on for others."""
    SUM = "sum"
    RESULT = "result"
    UPDATE = "update"


PROTOCOL_KINDS = frozenset(Kind) - {Kind.RESULT, Kind.SUM, Kind.UPDATE}
"""Kinds that carry no single update and no fresh aggregate: who we are, what we ask, what is already shared."""


@dataclass(frozen=True, eq=False)
class Permit:
    """Leave to send frames of some kinds to some peers. Only `Gate` makes one, and nobody widens it afterwards."""

    token: InitVar[object]
    id: str
    kinds: frozenset[Kind]
    peers: frozenset[PeerId] | None

    def __post_init__(self, token: object) -> None:
        if token is not _GATE_TOKEN:
            raise TypeError("a Permit is made by swarm.sovereignty.gate.Gate and nowhere else")

    def covers(self, kind: Kind, peer: PeerId) -> bool:
        """Whether a frame of `kind` may go to `peer`; `peers` None means anyone admitted."""
        return kind in self.kinds and (self.peers is None or peer in self.peers)


_GATE_TOKEN = object()
