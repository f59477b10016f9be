"""DSSE envelopes around in-toto statements: signed with a peer's identity key, checked from the peer id alone.

What is signed is the pre-authentication encoding of the DSSE protocol, version 1, over exactly the payload's bytes; the
key id is the peer id. One signature, and one spelling: a file is refused unless it is byte for byte what `seal` writes.
Knows nothing of what the payload says.
"""

from pathlib import Path

import msgspec

from swarm.errors import LineageError, UsageError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId, verify_dsse

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_ENVELOPE_BYTES = 64 * 1024 * 1024


class EnvelopeSignature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keyid: PeerId
    sig: bytes
    """64 bytes; base64 in JSON."""


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    payload: bytes
    """Base64 in JSON."""
    payload_type: str
    signatures: tuple[EnvelopeSignature, ...]


def seal(payload: bytes, identity: Identity) -> bytes:
    """The file of an envelope: one line of JSON."""
    signature = EnvelopeSignature(identity.peer_id, identity.sign_dsse(PAYLOAD_TYPE, payload))
    return _encode(Envelope(payload, PAYLOAD_TYPE, (signature,)))


def unseal(data: bytes, what: str) -> tuple[PeerId, bytes]:
    """Who signed, and the payload. `what` names the file in messages.

    Raises:
        LineageError: it is not an envelope, or not what its author signed.
    """
    try:
        envelope = msgspec.json.decode(data, type=Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LineageError(f"{what} is not a DSSE envelope: {error}") from None
    if _encode(envelope) != data:
        raise LineageError(f"{what} was changed after it was written: not as an envelope is spelled here")
    if envelope.payload_type != PAYLOAD_TYPE or len(envelope.signatures) != 1:
        raise LineageError(f"{what} is not an in-toto statement under one signature")
    (signature,) = envelope.signatures
    if not verify_dsse(signature.keyid, signature.sig, envelope.payload_type, envelope.payload):
        raise LineageError(f"{what} is not what {signature.keyid} has signed")
    return signature.keyid, envelope.payload


def read_envelope(path: Path) -> tuple[PeerId, bytes]:
    """As `unseal`, for a file.

    Raises:
        UsageError: nothing lies at `path`.
        LineageError: it cannot be read, is too long, or as in `unseal`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_ENVELOPE_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except OSError as error:
        raise LineageError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_ENVELOPE_BYTES:
        raise LineageError(f"{path} is longer than {MAX_ENVELOPE_BYTES} bytes")
    return unseal(data, str(path))


def _encode(envelope: Envelope) -> bytes:
    return msgspec.json.encode(envelope) + b"\n"
