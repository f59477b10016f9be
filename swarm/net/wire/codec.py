"""Frames as bytes and back, and the signatures of statements."""

from types import UnionType
from typing import Any, TypeVar, overload

import msgspec

from swarm.errors import ProtocolError
from swarm.identity.key import Identity
from swarm.identity.peer_id import verify
from swarm.net.transport import Buffer
from swarm.net.wire.frame import (
    Frame,
    Sealed,
)

F = TypeVar("F")
S = TypeVar("S", bound=Frame)


def encode(frame: Frame) -> bytes:
    """A frame as msgpack bytes."""
    return _ENCODER.encode(frame)


@overload
def decode(data: Buffer, expected: type[F]) -> F: ...
@overload
def decode(data: Buffer, expected: UnionType) -> Any: ...
def decode(data: Buffer, expected: Any) -> Any:
    """Bytes from a stranger as one of the expected frames (a class or a union of classes).

    Raises:
        ProtocolError: truncated, mistyped, or a frame that is not expected here.
    """
    decoder = _DECODERS.get(expected)
    if decoder is None:
        decoder = _DECODERS[expected] = msgspec.msgpack.Decoder(expected)
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # text and nesting are a stranger's too
        raise ProtocolError(f"bad frame: {error}") from None


def encode_sealed(sealed: Sealed) -> bytes:
    """A sealed statement as bytes that stand alone, as in the directory; `decode(data, Sealed)` reads them."""
    return _ENCODER.encode(sealed)


def seal(identity: Identity, statement: Frame) -> Sealed:
    """Signs a statement; the class name is the signature's domain."""
    payload = encode(statement)
    return Sealed(identity.peer_id, payload, identity.sign(type(statement).__name__, payload))


def unseal(sealed: Sealed, expected: type[S]) -> S:
    """The statement inside, after checking its author's signature.

    Raises:
        ProtocolError: the signature is wrong, or it is another kind of statement.
    """
    if not verify(sealed.author, sealed.signature, expected.__name__, sealed.payload):
        raise ProtocolError(f"{expected.__name__} with a signature that is not its author's")
    return decode(sealed.payload, expected)


_ENCODER = msgspec.msgpack.Encoder()
_DECODERS: dict[object, msgspec.msgpack.Decoder[Any]] = {}
