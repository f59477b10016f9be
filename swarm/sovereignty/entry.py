"""One entry of the ledger: what its line says, what the Merkle log commits to, and what each visibility tier may see.

The leaf holds the canonical event (RFC 8785): the public fields, and one salted commitment per tier above them, so that
an export can reveal a tier of some entries without changing history and without saying anything about the rest.

    public       when, what kind, how many bytes
    consortium   to whom, under which permit of the gate
    private      the digest of the payload: who has a payload in hand can tell whether it was this one

A commitment is SHA-256(salt || canonical JSON of the tier); salts are 32 bytes, independent for each entry and tier.
"""

import hashlib
from enum import StrEnum
from zlib import crc32

import msgspec

from swarm.sovereignty.merkle import leaf_hash
from swarm.sovereignty.permit import Kind

SALT_BYTES = 32
Octets = bytes
"""`bytes`, for classes that have a field of that name."""


class Tier(StrEnum):
    """Who may see; each sees what the ones before it see."""

    PUBLIC = "public"
    CONSORTIUM = "consortium"
    PRIVATE = "private"


class ForConsortium(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fields in the order of canonical JSON."""

    peer: str
    """The recipient's peer id, "directory" for announcements, or the address of a metrics service."""
    permit: str
    """Id of the permit the gate gave."""


class ForOwner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    digest: str
    """Hex BLAKE3 of the payload."""


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a leaf holds. Fields in the order of canonical JSON."""

    at: float
    """Unix seconds, to the millisecond."""
    bytes: int
    consortium: str
    """Hex commitment to `ForConsortium`."""
    kind: Kind
    private: str
    """Hex commitment to `ForOwner`."""

    def leaf(self) -> "Octets":
        """The leaf hash of this event."""
        return leaf_hash(_encode(msgspec.structs.replace(self, at=_canonical(self.at))))


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of `ledger.jsonl`: everything, for its owner."""

    n: int
    """Number of the entry, from 0; its place in the Merkle log."""
    at: float
    """Unix seconds, to the millisecond."""
    peer: str
    """The recipient's peer id, or "directory" for announcements."""
    kind: Kind
    bytes: int
    digest: str
    """Hex BLAKE3 of the payload."""
    permit: str
    """Id of the permit the gate gave."""
    salts: "Octets"
    """The consortium tier's 32 bytes, then the private tier's."""
    check: int
    """CRC-32 of this line up to here, begun with the check of the entry before: it shows at which line somebody was
    careless. Who recomputes it has the signed tree heads to deal with."""


def event_of(entry: Entry) -> Event:
    """What an entry's leaf must hold, made from what its line says."""
    return Event(
        entry.at,
        entry.bytes,
        commitment(entry.salts[:SALT_BYTES], ForConsortium(entry.peer, entry.permit)),
        entry.kind,
        commitment(entry.salts[SALT_BYTES:], ForOwner(entry.digest)),
    )


def commitment(salt: bytes, revealed: ForConsortium | ForOwner) -> str:
    """The hex commitment to one tier's fields."""
    return hashlib.sha256(salt + _encode(revealed)).hexdigest()


def to_the_millisecond(unix_s: float) -> float:
    """A time as the ledger keeps it."""
    at_ms = int(unix_s * 1000)
    return at_ms / 1000 if at_ms % 1000 else at_ms // 1000


class Line(msgspec.Struct, frozen=True):
    """A line to be written: the fields of an `Entry` without its check, which `seal` appends."""

    n: int
    at: float
    peer: str
    kind: Kind
    bytes: int
    digest: str
    permit: str
    salts: "Octets"


def encode_line(line: Line, check_before: int) -> tuple[bytes, int]:
    """One line of the file, newline included, and its check."""
    body = _encode(line)[:-1]
    check = crc32(body, check_before)
    return b"".join((body, b',"check":', str(check).encode(), b"}\n")), check


def decode_line(line: bytes) -> Entry:
    """The entry in a line, exactly as `encode_line` writes one.

    Raises:
        ValueError: no line that `encode_line` writes.
    """
    try:
        entry = _DECODER.decode(line)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    if len(entry.salts) != 2 * SALT_BYTES:
        raise ValueError("not salted as a ledger salts its entries")
    entry = msgspec.structs.replace(entry, at=_canonical(entry.at))
    if _encode(entry) != line.removesuffix(b"\n"):
        raise ValueError("not written as a ledger writes its lines")
    return entry


def follows(line: bytes, entry: Entry, check_before: int) -> bool:
    """Whether the entry's check is the one of its line after the entry before."""
    return crc32(line[: line.rindex(b',"check":')], check_before) == entry.check


def _canonical(at: float) -> float:
    """Canonical JSON writes a whole number as an integer."""
    whole = int(at)
    return whole if whole == at else at


_encode = msgspec.json.Encoder().encode
_DECODER = msgspec.json.Decoder(Entry)
