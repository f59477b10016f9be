"""Peer ids: libp2p's identity multihash of an Ed25519 key, so that signatures verify from the id alone."""

from functools import lru_cache
from typing import NewType

import base58
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PeerId = NewType("PeerId", str)
"""Base58 text, for example "12D3KooW...". 52 characters for an Ed25519 key."""

# identity multihash (0x00), 36 bytes long, of libp2p's protobuf PublicKey{type: Ed25519, data: 32 bytes}
_PREFIX = bytes((0x00, 0x24, 0x08, 0x01, 0x12, 0x20))
_PUBLIC_KEY_BYTES = 32
_MAX_TEXT = 64
_REMEMBERED = 8192
"""Peer ids whose key is remembered: each signature asks for its author's, and base58 is a quarter of its cost."""


def peer_id_of(public_key: bytes) -> PeerId:
    """The peer id of a raw 32-byte Ed25519 public key."""
    assert len(public_key) == _PUBLIC_KEY_BYTES, len(public_key)
    return PeerId(base58.b58encode(_PREFIX + public_key).decode())


@lru_cache(_REMEMBERED)
def public_key_of(peer_id: str) -> bytes:
    """The 32-byte public key inside a peer id.

    Raises:
        ValueError: the text is not the id of an Ed25519 key.
    """
    if len(peer_id) > _MAX_TEXT:
        raise ValueError(f"a peer id has about 52 characters, this has {len(peer_id)}")
    try:
        raw = base58.b58decode(peer_id)
    except ValueError:  # its own message names one character only
        raw = b""
    if len(raw) != len(_PREFIX) + _PUBLIC_KEY_BYTES or not raw.startswith(_PREFIX):
        raise ValueError(f"{peer_id!r} is not the peer id of an Ed25519 key (these begin with 12D3KooW)")
    public_key = raw[len(_PREFIX) :]
    if peer_id_of(public_key) != peer_id:  # base58 ignores space at the end: one key must never count as two
        raise ValueError(f"{peer_id!r} has spaces around it")
    return public_key


def parse_peer_id(text: str) -> PeerId:
    """Text as a peer id.

    Raises:
        ValueError: the text is not the id of an Ed25519 key.
    """
    public_key_of(text)
    return PeerId(text)


def verify(author: PeerId, signature: bytes, domain: str, message: bytes) -> bool:
    """Whether `author` signed `message` for `domain` (see `Identity.sign`). False for a malformed id, never
    an error."""
    return _holds(author, signature, signed_bytes(domain, message))


def verify_dsse(author: PeerId, signature: bytes, payload_type: str, payload: bytes) -> bool:
    """Whether `author` signed this payload in a DSSE envelope (see `Identity.sign_dsse`); never an error."""
    return _holds(author, signature, pre_authentication(payload_type, payload))


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """What a DSSE envelope's signature covers: PAE of the DSSE protocol, version 1.

    It begins otherwise than all that `signed_bytes` makes, so neither kind of signature passes as the other.
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _holds(author: PeerId, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key_of(author)).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def signed_bytes(domain: str, message: bytes) -> bytes:
    """What is signed: the domain keeps a signature made for one kind of document from passing as another."""
    return b"tapestry/" + domain.encode() + b"\x00" + message
