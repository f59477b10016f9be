"""What peers sign about ledgers, and how it is checked: tree heads and receipts.

A statement travels and is kept inside `Signed`: the exact bytes that were signed, so nothing has to be re-encoded to
verify them. On disk each is one JSON line (`encode_line`).
"""

import math
from typing import Self

import msgspec

from swarm.errors import ProtocolError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId, verify
from swarm.sovereignty.merkle import HASH_BYTES

MAX_HEAD_BYTES = 1024
MAX_RECEIPT_FRAMES = 8192
"""Frames one receipt speaks for: about a quarter of a megabyte."""
MAX_RECEIPT_BYTES = MAX_RECEIPT_FRAMES * HASH_BYTES + 1024
_MOST = 2**53


class Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A statement with its author's signature over exactly `payload`."""

    author: PeerId
    payload: bytes
    signature: bytes


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of both: msgpack inside a signature whose domain is the class name."""

    def sign(self, identity: Identity) -> Signed:
        """This statement under the author's signature."""
        payload = msgspec.msgpack.encode(self)
        return Signed(identity.peer_id, payload, identity.sign(type(self).__name__, payload))

    @classmethod
    def _read(cls, signed: Signed, max_bytes: int) -> Self:
        """The statement inside. Raises ProtocolError."""
        if len(signed.payload) > max_bytes:
            raise ProtocolError(f"a {cls.__name__} of {len(signed.payload)} bytes")
        if not verify(signed.author, signed.signature, cls.__name__, signed.payload):
            raise ProtocolError(f"a {cls.__name__} with a signature that is not its author's")
        try:
            return msgspec.msgpack.decode(signed.payload, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(f"a bad {cls.__name__}: {error}") from None


class TreeHead(Statement, frozen=True):
    """`author`'s ledger in this run began, at that time, with `size` entries under this Merkle root."""

    run_id: str
    size: int
    root: bytes
    round: int
    at: float
    """Unix seconds on the author's clock."""

    @classmethod
    def read(cls, signed: Signed) -> "TreeHead":
        """The head inside, after checking its author's signature. Raises ProtocolError."""
        head = cls._read(signed, MAX_HEAD_BYTES)
        if len(head.root) != HASH_BYTES or not (0 < head.size <= _MOST and 0 <= head.round <= _MOST):
            raise ProtocolError("a TreeHead that no ledger has")
        if not math.isfinite(head.at):
            raise ProtocolError("a TreeHead without a time")
        return head


class Receipt(Statement, frozen=True):
    """`author` has received these frames from `sender` since its receipt before, on any stream, in order of arrival.

    A stream may be cut with frames on their way: a receipt speaks for what arrived, and for nothing else.
    """

    run_id: str
    sender: PeerId
    number: int
    """1 for the author's first receipt to this sender."""
    bytes: int
    digests: "Octets"
    """BLAKE3 of each frame's payload, 32 bytes each."""
    at: float

    @classmethod
    def read(cls, signed: Signed) -> "Receipt":
        """The receipt inside, after checking its author's signature. Raises ProtocolError."""
        receipt = cls._read(signed, MAX_RECEIPT_BYTES)
        if len(receipt.digests) % HASH_BYTES or not (0 < receipt.number <= _MOST and 0 <= receipt.bytes <= _MOST):
            raise ProtocolError("a Receipt that counts what cannot be")
        return receipt

    @property
    def frames(self) -> list[str]:
        """Hex digests, as the sender's ledger writes them."""
        return [self.digests[at : at + HASH_BYTES].hex() for at in range(0, len(self.digests), HASH_BYTES)]


Octets = bytes
"""`bytes`, for classes that have a field of that name."""


def encode_line(signed: Signed) -> bytes:
    """One line of a file of statements, newline included."""
    return msgspec.json.encode(signed) + b"\n"


def decode_line(line: bytes) -> Signed:
    """The statement in a line, not yet verified.

    Raises:
        ProtocolError: no such line.
    """
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"not a signed statement: {error}") from None


_DECODER = msgspec.json.Decoder(Signed)
