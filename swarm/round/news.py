"""What others have told this peer about rounds while it was busy, and how far their word is taken."""

from dataclasses import dataclass, field

from swarm.clock import monotonic_s
from swarm.identity.peer_id import PeerId
from swarm.net.tasks import Signal

MAX_ATTEMPT = 2**40
"""Out of reach for ever: no claim raises an attempt by more than `MAX_STEP`, and each of those takes an attempt."""
MAX_STEP = 8
"""Attempts beyond its own that a peer follows others at once; who is further away is reached in several steps."""
DOUBT_S = 5.0
"""How long claims of being ahead are not acted on after one that nobody's records proved."""


@dataclass
class News:
    """What others told this peer about rounds while it was busy; `changed` fires on each."""

    record: bytes | None = None
    """A pushed record that may follow the head."""
    called_attempt: int = 0
    """Highest attempt of the open round that some elector is already in, within `MAX_STEP` of this peer's own."""
    restarts: tuple[bytes, ...] = ()
    """The newest restarts of the founders that were told and are not in force here, good as documents."""
    better: PeerId | None = None
    """Somebody whose chain parted from this peer's and is the better one."""
    known_head: int = 0
    """Highest round that somebody says is committed, beyond those whose record was pushed here."""
    doubted_until_s: float = 0.0
    """Until then nobody's word that it is ahead is taken."""
    changed: Signal = field(default_factory=Signal)

    def told_ahead(self, head: int) -> None:
        """Somebody says it has committed round `head`, which is the open one here or later."""
        if monotonic_s() < self.doubted_until_s:
            return
        self.known_head = max(self.known_head, head)
        self.changed.fire()

    def told_better(self, peer: PeerId) -> None:
        """A chain that parted from this one, verified and found to be the better one."""
        self.better = peer
        self.changed.fire()

    def doubt_claims(self) -> None:
        """Nobody had the records of a round that was said to be committed: the rounds go on undisturbed for a while."""
        self.doubted_until_s = monotonic_s() + DOUBT_S
