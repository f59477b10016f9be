"""Shows a ledger to others, one visibility tier at a time, without changing history.

An export is a file of JSON lines: the signed head, then entries up to it. Each holds its event, which is what the
Merkle leaf commits to, and the salts and fields of the tiers that are revealed. All entries together give the head's
root; a selection of them brings an inclusion proof each. What is not revealed stays behind its commitment.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from swarm.errors import ProtocolError, StateError
from swarm.identity.peer_id import PeerId
from swarm.sovereignty.audit import newest_head
from swarm.sovereignty.entry import (
    SALT_BYTES,
    Entry,
    Event,
    ForConsortium,
    ForOwner,
    Tier,
    commitment,
    event_of,
)
from swarm.sovereignty.ledger import whole
from swarm.sovereignty.merkle import Levels, includes, inclusion_proof, roots_at
from swarm.sovereignty.permit import Kind
from swarm.sovereignty.signed import Signed, TreeHead

_MAGIC = b'{"export":'


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """First line of an export."""

    export: int
    """Version of this format, 1."""
    tier: Tier
    head: Signed


class Revealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One entry of an export."""

    n: int
    event: Event
    proof: tuple[bytes, ...] | None = None
    """Inclusion proof, where not all entries are exported."""
    consortium: ForConsortium | None = None
    consortium_salt: bytes | None = None
    private: ForOwner | None = None
    private_salt: bytes | None = None


@dataclass(frozen=True)
class ExportedHead:
    """The head an export speaks of."""

    peer: PeerId
    size: int
    root: str


@dataclass(frozen=True)
class ExportCheck:
    """What a check of an export found."""

    export: str
    peer: PeerId
    tier: str
    verdict: str
    """"verified against the signed head" or "refuted"."""
    entries: int
    size: int
    root: str
    bytes: dict[str, int]
    """By kind, of the entries in it."""
    faults: tuple[str, ...]

    @property
    def text(self) -> str:
        return (
            f"{self.verdict}: {self.entries} of {self.size} entries of {self.peer}, {self.tier} tier, "
            f"{sum(self.bytes.values())} bytes sent, root {self.root}"
        )


def write_export(ledger: Path, out: Path, tier: Tier, kinds: frozenset[Kind]) -> tuple[ExportedHead, int]:
    """Writes the entries under the newest head, only those of `kinds` if there are any; how many.

    Raises:
        StateError: there is no head, or the ledger is not the one it was signed over.
    """
    signed = newest_head(ledger)
    head = TreeHead.read(signed)
    entries = _entries(ledger)[: head.size]
    leaves = [event_of(entry).leaf() for entry in entries]
    if roots_at(leaves, [head.size]).get(head.size) != head.root:
        raise StateError(f"the ledger {ledger} is not the one its newest head was signed over: see `audit verify`")
    levels = Levels(leaves)
    chosen = [entry for entry in entries if not kinds or entry.kind in kinds]
    with out.open("xb") as file:
        file.write(msgspec.json.encode(Header(1, tier, signed)) + b"\n")
        for entry in chosen:
            proof = tuple(inclusion_proof(levels.node, entry.n, head.size)) if kinds else None
            file.write(msgspec.json.encode(reveal(entry, tier, proof)) + b"\n")
    return ExportedHead(signed.author, head.size, head.root.hex()), len(chosen)


def reveal(entry: Entry, tier: Tier, proof: tuple[bytes, ...] | None) -> Revealed:
    """What one tier may see of an entry."""
    event = event_of(entry)
    if tier is Tier.PUBLIC:
        return Revealed(entry.n, event, proof)
    for_consortium = ForConsortium(entry.peer, entry.permit)
    if tier is Tier.CONSORTIUM:
        return Revealed(entry.n, event, proof, for_consortium, entry.salts[:SALT_BYTES])
    for_owner = ForOwner(entry.digest)
    return Revealed(
        entry.n, event, proof, for_consortium, entry.salts[:SALT_BYTES], for_owner, entry.salts[SALT_BYTES:]
    )


def is_export(path: Path) -> bool:
    """Whether a file begins as an export does. Raises StateError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror}") from None


def check_export(path: Path, owner: PeerId | None) -> ExportCheck:
    """Checks an export against the signed head in it, with nothing else at hand.

    Raises:
        StateError: it cannot be read, or is not an export.
    """
    try:
        with path.open("rb") as lines:
            header = msgspec.json.decode(next(lines), type=Header)
            revealed = [_LINE.decode(line) for line in lines]
        head = TreeHead.read(header.head)
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror}") from None
    except (StopIteration, msgspec.DecodeError, UnicodeDecodeError, RecursionError, ProtocolError) as error:
        raise StateError(f"{path} is not an export: {error}") from None
    faults: list[str] = []
    if owner is not None and header.head.author != owner:
        faults.append(f"wrong signer: the head is by {header.head.author}")
    faults += _against_head(revealed, head)
    for each in revealed:
        faults += _commitment_faults(each)
    totals: Counter[str] = Counter()
    for each in revealed:
        totals[each.event.kind] += each.event.bytes
    return ExportCheck(
        export=str(path),
        peer=header.head.author,
        tier=header.tier.value,
        verdict="refuted" if faults else "verified against the signed head",
        entries=len(revealed),
        size=head.size,
        root=head.root.hex(),
        bytes=dict(totals),
        faults=tuple(faults[:5]),
    )


def _against_head(revealed: Sequence[Revealed], head: TreeHead) -> list[str]:
    """Every entry by its inclusion proof; entries without proofs must be all there are."""
    leaves = [each.event.leaf() for each in revealed]
    if any(each.proof is None for each in revealed) or not revealed:
        is_whole = [each.n for each in revealed] == list(range(head.size))
        if is_whole and roots_at(leaves, [head.size]).get(head.size) == head.root:
            return []
        return ["its entries are not the ones the head was signed over"]
    return [
        f"entry {each.n} is not under the head"
        for each, leaf in zip(revealed, leaves, strict=True)
        if not includes(leaf, each.n, head.size, head.root, each.proof or ())
    ]


def _commitment_faults(each: Revealed) -> list[str]:
    pairs = (
        (each.event.consortium, each.consortium_salt, each.consortium),
        (each.event.private, each.private_salt, each.private),
    )
    return [
        f"entry {each.n} reveals what it was not committed to"
        for committed, salt, fields in pairs
        if (salt is None) != (fields is None)
        or (salt is not None and fields is not None and commitment(salt, fields) != committed)
    ]


def _entries(ledger: Path) -> list[Entry]:
    try:
        with ledger.open("rb") as lines:
            return [entry for entry in map(whole, lines) if entry is not None]
    except OSError as error:
        raise StateError(f"cannot read the ledger {ledger}: {error.strerror}") from None


_LINE = msgspec.json.Decoder(Revealed)
