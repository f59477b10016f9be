"""Compares two ends: what one peer's ledger says it sent with what the other has countersigned, in both directions.

A receipt that names a frame the sender's ledger does not have is a contradiction with two signatures on it. The other
way round there is a difference and no contradiction: a cut stream, a frame on its way, or a receiver that died before
its next receipt. Receipts are taken from both folders; one copy of each is enough.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from swarm.errors import ProtocolError, StateError
from swarm.identity.peer_id import PeerId
from swarm.sovereignty import statements
from swarm.sovereignty.audit import owner_of
from swarm.sovereignty.entry import Entry
from swarm.sovereignty.ledger import whole
from swarm.sovereignty.receipts import RECEIPTS_NAME
from swarm.sovereignty.signed import Receipt

_NAMED = 20


@dataclass(frozen=True)
class Direction:
    """Frames from one peer to the other."""

    sender: PeerId
    receiver: PeerId
    receipts: int
    agreed_frames: int
    agreed_bytes: int
    sent_only_frames: int
    """In the sender's ledger, countersigned by nobody."""
    sent_only_bytes: int
    sent_only_by_kind: dict[str, int]
    """Frames."""
    sent_only_entries: tuple[int, ...]
    """Numbers of the first of them in the sender's ledger."""
    received_only_frames: int
    """Countersigned by the receiver, not in the sender's ledger."""

    @property
    def text(self) -> str:
        lines = [
            f"{self.sender} to {self.receiver}: {self.agreed_frames} frames ({self.agreed_bytes} bytes) agreed, "
            f"by {self.receipts} receipts"
        ]
        if self.sent_only_frames:
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.sent_only_by_kind.items()))
            entries = ", ".join(map(str, self.sent_only_entries))
            more = ", ..." if self.sent_only_frames > _NAMED else ""
            lines.append(
                f"  sent and not countersigned: {self.sent_only_frames} frames ({self.sent_only_bytes} bytes): {kinds}"
            )
            lines.append(f"    entries {entries}{more}")
        if self.received_only_frames:
            lines.append(f"  countersigned and not in the sender's ledger: {self.received_only_frames} frames")
        return "\n".join(lines)


@dataclass(frozen=True)
class Reconciliation:
    """Both directions."""

    agrees: bool
    """No contradiction, and nothing sent that is not countersigned."""
    directions: tuple[Direction, ...]
    faults: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(direction.text for direction in self.directions)


def reconcile(a: Path, b: Path) -> Reconciliation:
    """Compares two ledgers, each in its peer's state folder. Raises StateError when one cannot be read."""
    one, other = _owner(a), _owner(b)
    if one == other:
        raise StateError(f"{a} and {b} are of the same peer, {one}")
    faults: list[str] = []
    # Receipts first: on running peers a frame is in its sender's ledger before anybody can countersign it.
    there = _receipts(a.parent, b.parent, one, other, faults)
    back = _receipts(b.parent, a.parent, other, one, faults)
    directions = (
        _compare(_Sent(one, _entries_to(a, other)), other, there, faults),
        _compare(_Sent(other, _entries_to(b, one)), one, back, faults),
    )
    agrees = not faults and not any(direction.sent_only_frames for direction in directions)
    return Reconciliation(agrees, directions, tuple(faults))


@dataclass(frozen=True)
class _Sent:
    sender: PeerId
    entries: list[Entry]


def _compare(sent: _Sent, receiver: PeerId, receipts: Iterable[Receipt], faults: list[str]) -> Direction:
    open_entries: dict[str, list[Entry]] = defaultdict(list)
    for entry in reversed(sent.entries):
        open_entries[entry.digest].append(entry)
    agreed: list[Entry] = []
    received_only = count = 0
    for receipt in receipts:
        count += 1
        frames = receipt.frames
        found = [open_entries[digest].pop() for digest in frames if open_entries[digest]]
        agreed += found
        missing = len(frames) - len(found)
        received_only += missing
        counted_bytes = sum(entry.bytes for entry in found)
        if missing:
            faults.append(
                f"{receiver} has countersigned {missing} frames (receipt {receipt.number}) that the ledger of "
                f"{sent.sender} does not have"
            )
        elif counted_bytes != receipt.bytes:
            faults.append(
                f"receipt {receipt.number} of {receiver} is over {receipt.bytes} bytes, the ledger of {sent.sender} "
                f"says {counted_bytes} for the same frames"
            )
    rest = sorted((entry for left in open_entries.values() for entry in left), key=lambda entry: entry.n)
    return Direction(
        sender=sent.sender,
        receiver=receiver,
        receipts=count,
        agreed_frames=len(agreed),
        agreed_bytes=sum(entry.bytes for entry in agreed),
        sent_only_frames=len(rest),
        sent_only_bytes=sum(entry.bytes for entry in rest),
        sent_only_by_kind=dict(Counter(entry.kind.value for entry in rest)),
        sent_only_entries=tuple(entry.n for entry in rest[:_NAMED]),
        received_only_frames=received_only,
    )


def _entries_to(ledger: Path, receiver: PeerId) -> list[Entry]:
    try:
        with ledger.open("rb") as lines:
            return [entry for entry in map(whole, lines) if entry is not None and entry.peer == receiver]
    except OSError as error:
        raise StateError(f"cannot read the ledger {ledger}: {error.strerror}") from None


def _receipts(
    sender_folder: Path, receiver_folder: Path, sender: PeerId, receiver: PeerId, faults: list[str]
) -> list[Receipt]:
    """The receiver's receipts for the sender, by number, whoever kept them."""
    found: dict[int, Receipt] = {}
    for path in (
        sender_folder / RECEIPTS_NAME / "got" / f"{receiver}.jsonl",
        receiver_folder / RECEIPTS_NAME / "given" / f"{sender}.jsonl",
    ):
        for signed in statements.read(path):
            try:
                receipt = Receipt.read(signed)
            except ProtocolError as error:
                faults.append(f"{path}: {error}")
                continue
            if signed.author != receiver or receipt.sender != sender:
                faults.append(f"{path}: a receipt by {signed.author} for {receipt.sender}")
            elif found.setdefault(receipt.number, receipt) != receipt:
                faults.append(f"{receiver} has signed two different receipts with number {receipt.number}")
    return [found[number] for number in sorted(found)]


def _owner(ledger: Path) -> PeerId:
    owner = owner_of(ledger)
    if owner is None:
        raise StateError(f"nothing beside {ledger} says whose ledger it is: give the whole state folder")
    return owner
