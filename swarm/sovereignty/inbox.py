"""Frames that arrived and are not yet on a receipt, by sender. In memory: what a crash loses is never countersigned."""

from blake3 import blake3

from swarm.identity.peer_id import PeerId
from swarm.sovereignty.signed import MAX_RECEIPT_FRAMES

Buffer = bytes | bytearray | memoryview
MAX_SENDERS = 4096
"""Peers whose frames wait at once."""
MAX_WAITING_FRAMES = 16 * MAX_RECEIPT_FRAMES
"""Of one peer. What comes after is never countersigned, which the sender's own ledger then says."""


class Inbox:
    """What waits for receipts."""

    def __init__(self) -> None:
        self._piles: dict[PeerId, list[tuple[bytes, int]]] = {}

    def note(self, sender: PeerId, payload: Buffer) -> None:
        """A frame of `sender` arrived."""
        pile = self._piles.get(sender)
        if pile is None:
            if len(self._piles) >= MAX_SENDERS:
                return
            pile = self._piles[sender] = []
        if len(pile) < MAX_WAITING_FRAMES:
            pile.append((blake3(payload).digest(), len(payload)))

    def take(self, sender: PeerId) -> list[tuple[bytes, int]]:
        """At most a receipt's worth of frames of one sender, (digest, bytes) each; they wait no longer."""
        pile = self._piles.get(sender, [])
        taken = pile[:MAX_RECEIPT_FRAMES]
        del pile[:MAX_RECEIPT_FRAMES]
        if not pile:
            self._piles.pop(sender, None)
        return taken

    @property
    def senders(self) -> list[PeerId]:
        """Whose frames wait."""
        return list(self._piles)
