"""Frames that arrived and are not yet on a receipt, by sender. In memory: what a crash loses is never countersigned.

Bounded for each sender and for all together: senders that are gone take nothing any more, so the pile that has grown
least lately makes room. Their own ledgers then say that nobody has countersigned those frames.
"""

from array import array
from collections import OrderedDict
from dataclasses import dataclass, field

from blake3 import blake3

from swarm.identity.peer_id import PeerId
from swarm.sovereignty.signed import MAX_RECEIPT_FRAMES

Buffer = bytes | bytearray | memoryview
MAX_SENDERS = 4096
"""Peers whose frames wait at once."""
MAX_WAITING_FRAMES = 16 * MAX_RECEIPT_FRAMES
"""Of one peer. What comes after is never countersigned, which the sender's own ledger then says."""
MAX_WAITING_IN_ALL = 4 * MAX_WAITING_FRAMES
"""Of all peers together: about 20 MB."""
_DIGEST_BYTES = 32


@dataclass
class _Pile:
    """Frames of one sender, in the order they came: 40 bytes each, since there may be many."""

    digests: bytearray = field(default_factory=bytearray)
    sizes: "array[int]" = field(default_factory=lambda: array("Q"))


class Inbox:
    """What waits for receipts."""

    def __init__(self) -> None:
        self._piles: OrderedDict[PeerId, _Pile] = OrderedDict()
        """Whoever was heard last comes last."""
        self._waiting = 0

    def note(self, sender: PeerId, payload: Buffer) -> None:
        """A frame of `sender` arrived."""
        pile = self._piles.get(sender)
        if pile is None:
            if len(self._piles) >= MAX_SENDERS:
                self._forget_oldest()
            pile = self._piles[sender] = _Pile()
        self._piles.move_to_end(sender)
        if len(pile.sizes) >= MAX_WAITING_FRAMES:
            return
        pile.digests += blake3(payload).digest()
        pile.sizes.append(len(payload))
        self._waiting += 1
        if self._waiting > MAX_WAITING_IN_ALL:
            self._forget_oldest()

    def take(self, sender: PeerId) -> list[tuple[bytes, int]]:
        """At most a receipt's worth of frames of one sender, (digest, bytes) each; they wait no longer."""
        pile = self._piles.get(sender)
        if pile is None:
            return []
        sizes = pile.sizes[:MAX_RECEIPT_FRAMES].tolist()
        taken = [
            (bytes(pile.digests[at : at + _DIGEST_BYTES]), size)
            for at, size in zip(range(0, len(pile.digests), _DIGEST_BYTES), sizes, strict=False)
        ]
        del pile.digests[: len(sizes) * _DIGEST_BYTES]
        del pile.sizes[: len(sizes)]
        self._waiting -= len(sizes)
        if not pile.sizes:
            del self._piles[sender]
        return taken

    @property
    def senders(self) -> list[PeerId]:
        """Whose frames wait."""
        return list(self._piles)

    def _forget_oldest(self) -> None:
        _, pile = self._piles.popitem(last=False)
        self._waiting -= len(pile.sizes)
