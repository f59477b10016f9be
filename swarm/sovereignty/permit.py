"""What can leave a machine, by kind, and the permission without which nothing does."""

from dataclasses import InitVar, dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a frame is, as the ledger names it."""

    HELLO = "hello"
    REQUEST = "request"
    CONTROL = "control"
    VOTE = "vote"
    VERDICT = "verdict"
    """This peer's own word on a candidate base, which held-out data of its own has led to."""
    ANNOUNCE = "announce"
    CHARTER = "charter"
    RECORD = "record"
    STATE = "state"
    EVIDENCE = "evidence"
    RELAYED = "relayed"
    """Encrypted for somebody else: from one end of a relayed stream, or passed on for others."""
    OBSERVED = "observed"
    """Records and this peer's own figures, for somebody who watches and takes no part."""
    FIGURES = "figures"
    """This peer's own figures, for a metrics service outside the run that its policy names."""
    MASK = "mask"
    """A self-mask of a secure sum, this peer's or one passed on: it opens the sum of all, and nobody's part."""
    SUM = "sum"
    RESULT = "result"
    UPDATE = "update"
    DECISION = "decision"
    """No frame: what the gate decided, or which policy is in force from here on."""


PROTOCOL_KINDS = frozenset(Kind) - {
    Kind.RESULT,
    Kind.SUM,
    Kind.UPDATE,
    Kind.VERDICT,
    Kind.OBSERVED,
    Kind.FIGURES,
    Kind.DECISION,
}
"""Kinds that carry no single update and no fresh aggregate, and go to peers that take part."""


@dataclass(frozen=True, eq=False)
class Permit:
    """Leave to send frames of some kinds to some peers. Only `Gate` makes one, and nobody widens it afterwards."""

    token: InitVar[object]
    id: str
    kinds: frozenset[Kind]
    peers: frozenset[str] | None
    """Peer ids, or the one address of a service outside the run."""
    region: str = ""
    """Where it must stay, relays included; empty for what may cross borders."""

    def __post_init__(self, token: object) -> None:
        if token is not _GATE_TOKEN:
            raise TypeError("a Permit is made by swarm.sovereignty.gate.Gate and nowhere else")

    def covers(self, kind: Kind, peer: str) -> bool:
        """Whether a frame of `kind` may go to `peer`; `peers` None means anyone admitted."""
        return kind in self.kinds and (self.peers is None or peer in self.peers)


_GATE_TOKEN = object()
