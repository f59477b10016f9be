"""Masks of secure aggregation: what makes a part look random, and cancels when all parts are added.

    y_i = w_i code_i  +  sum over k > i of PRG(K_ik)  -  sum over k < i of PRG(K_ik)  +  PRG(b_i)      modulo 2**16

K_ik is a secret of two members, from X25519 with keys that live for one attempt; b_i is member i's own, drawn for one
attempt. In the sum over all members the pairwise masks cancel, and the self-masks are left until every b_i is known
(Bonawitz et al., "Practical Secure Aggregation", 2017; without its secret sharing). Each chunk has keys of its own:

    key = HKDF-SHA256(secret, salt = group, info = "tapestry/secagg/v1" || purpose || chunk)
    PRG = AES-256-CTR from zero: a key is used for one stream

`group` names the run, the round, the roster and the ranges, so no key serves two rosters. Pure functions; when what is
sent is `swarm.round.secure`'s.
"""

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from swarm.errors import ProtocolError
from swarm.vector.secure_codes import WORD, Words

KEY_BYTES = 32
SEED_BYTES = 32
_DOMAIN = b"tapestry/secagg/v1"
_ZEROS = memoryview(bytes(2 * 65_536))

Stream = Callable[[bytes, int], Words]
"""A key and a number of elements: that many words, as good as random to who does not have the key."""


def group_id(run_id: str, round_number: int, roster_digest: bytes, ranges: bytes) -> bytes:
    """What all members of one sum must agree on, as 32 bytes. The digest is of the bytes that a leader signed."""
    parts = (run_id.encode(), round_number.to_bytes(8, "little"), roster_digest, ranges)
    digest = hashlib.sha256(_DOMAIN + b"/group")
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()


def pair_secret(mine: X25519PrivateKey, theirs: bytes) -> bytes:
    """The secret of two members, the same from both sides. Raises ProtocolError for a key that gives none."""
    try:
        return mine.exchange(X25519PublicKey.from_public_bytes(theirs))
    except ValueError:
        raise ProtocolError("a mask key that gives no secret") from None


def chunk_key(secret: bytes, group: bytes, purpose: str, chunk: int) -> bytes:
    """The key of one stream: of a pair, of a self-mask, or of rounding."""
    info = _DOMAIN + b"/" + purpose.encode() + b"/" + chunk.to_bytes(8, "little")
    return HKDF(SHA256(), KEY_BYTES, group, info).derive(secret)


def stream(key: bytes, elements: int) -> Words:
    """AES-256-CTR, as little-endian words of shape (elements,)."""
    encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    found = np.empty(elements, WORD)
    out = found.view(np.uint8).data
    for start in range(0, len(out), len(_ZEROS)):
        target = out[start : start + len(_ZEROS)]
        encryptor.update_into(_ZEROS[: len(target)], target)
    return found


def mask(
    codes_N: Words,
    weight: int,
    *,
    seat: int,
    pairs: Mapping[int, bytes],
    own: bytes,
    stream: Stream = stream,
) -> Words:
    """One member's masked part of a chunk, in the memory of `codes_N`.

    Args:
        pairs: by the other member's seat, the key of the pair's stream for this chunk.
        own: the key of the self-mask's stream for this chunk.
    """
    masked_N = codes_N
    if weight != 1:
        np.multiply(masked_N, np.uint16(weight), out=masked_N)
    for other, key in pairs.items():
        combine = np.add if other > seat else np.subtract
        combine(masked_N, stream(key, masked_N.size), out=masked_N)
    return np.add(masked_N, stream(own, masked_N.size), out=masked_N)


def add(sum_N: Words, masked_N: Words) -> None:
    """Adds a masked part, or a masked sum, to a sum in place."""
    np.add(sum_N, masked_N, out=sum_N)


def unmask(sum_N: Words, own: Mapping[int, bytes], *, stream: Stream = stream) -> Words:
    """Takes the self-masks of all members in a sum away, in place: then it is the sum of their weighted codes."""
    for key in own.values():
        np.subtract(sum_N, stream(key, sum_N.size), out=sum_N)
    return sum_N
