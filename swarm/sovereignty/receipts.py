"""Receipts: each round a receiver countersigns, for each peer it heard from, the frames that arrived.

    STATE/receipts/given/<peer id>.jsonl    what this peer has countersigned, before it was sent
    STATE/receipts/got/<peer id>.jsonl      what others have countersigned for this peer

Arrival order differs from the sender's order, and a cut stream loses what was on its way, so a receipt lists digests
instead of chaining them: `tapestry audit reconcile` matches them with the sender's ledger entry by entry.
"""

from collections import OrderedDict
from pathlib import Path

from swarm.errors import ProtocolError, StateError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.sovereignty import statements
from swarm.sovereignty.inbox import Inbox
from swarm.sovereignty.signed import Receipt, Signed

RECEIPTS_NAME = "receipts"
MAX_AT_ONCE = 16
"""Receipts in one frame."""
MAX_UNSENT_PEERS = 256
"""For so many peers at once receipts are kept in memory that they have not taken."""


class Receipts:
    """Receipts given and got by one peer."""

    def __init__(self, folder: Path, identity: Identity, run_id: str) -> None:
        """Makes the folders. Raises StateError."""
        self._given, self._got = folder / RECEIPTS_NAME / "given", folder / RECEIPTS_NAME / "got"
        self._identity = identity
        self._run_id = run_id
        self._numbers: dict[PeerId, int] = {}
        self._unsent: OrderedDict[PeerId, list[Signed]] = OrderedDict()
        """Of those who have left for good the files have them too: beyond `MAX_UNSENT_PEERS` the oldest go."""
        self._counted: dict[PeerId, tuple[int, int]] = {}
        """Of each peer that countersigns: number of its newest receipt, and frames on all of them."""
        try:
            for path in (self._given, self._got):
                path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(f"cannot use {folder / RECEIPTS_NAME}: {error.strerror}") from None

    def countersign(self, inbox: Inbox, sender: PeerId, at: float) -> tuple[Signed, ...]:
        """The receipts `sender` has not taken yet, the newest made of what waits in the inbox. Raises StateError."""
        unsent = self._unsent.get(sender, [])
        fresh: list[Signed] = []
        while len(unsent) + len(fresh) < MAX_AT_ONCE and (frames := inbox.take(sender)):
            number = self._number(sender) + 1
            digests = b"".join(digest for digest, _ in frames)
            total = sum(size_bytes for _, size_bytes in frames)
            receipt = Receipt(self._run_id, sender, number, total, digests, at)
            fresh.append(receipt.sign(self._identity))
            self._numbers[sender] = number
        if fresh:
            statements.append(self._given / f"{sender}.jsonl", fresh)
            self._unsent[sender] = unsent = [*unsent, *fresh]
            self._unsent.move_to_end(sender)
            if len(self._unsent) > MAX_UNSENT_PEERS:
                self._unsent.popitem(last=False)
        return tuple(unsent)

    def taken(self, sender: PeerId) -> None:
        """`sender` has the receipts it was sent."""
        self._unsent.pop(sender, None)

    def keep(self, signed: Signed, most_frames: int) -> None:
        """A receipt that another peer gave this one, which has sent at most so many frames.

        Raises:
            ProtocolError: it is not for this peer, or counts more than was sent.
            StateError: the disk refuses.
        """
        receipt = Receipt.read(signed)
        if (receipt.sender, receipt.run_id) != (self._identity.peer_id, self._run_id):
            raise ProtocolError("a receipt for another peer or another run")
        number, frames = self._counts(signed.author)
        if receipt.number <= number:
            return  # it was sent twice, because the answer was lost
        frames += len(receipt.frames)
        if frames > most_frames:
            raise ProtocolError("receipts for more frames than were sent")
        statements.append(self._got / f"{signed.author}.jsonl", [signed])
        self._counted[signed.author] = receipt.number, frames

    def _number(self, sender: PeerId) -> int:
        if sender not in self._numbers:
            given = statements.read(self._given / f"{sender}.jsonl")
            self._numbers[sender] = max((Receipt.read(signed).number for signed in given), default=0)
        return self._numbers[sender]

    def _counts(self, author: PeerId) -> tuple[int, int]:
        if author not in self._counted:
            got = [Receipt.read(signed) for signed in statements.read(self._got / f"{author}.jsonl")]
            newest = max((receipt.number for receipt in got), default=0)
            self._counted[author] = newest, sum(len(receipt.frames) for receipt in got)
        return self._counted[author]
