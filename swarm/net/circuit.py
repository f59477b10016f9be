"""The two ends of a relayed stream: they prove to each other who they are, and the relay reads nothing.

Each end signs a fresh X25519 key for the other (`wire.RelayKey`); the answer names the key that it answers. Both derive
a key per direction by HKDF-SHA256 from the shared secret, salted with both public keys. What follows is AES-256-GCM,
numbered in each direction, so that nothing can be altered, repeated or left out unnoticed. Who replays an opening has
not its private key, and can neither read nor write what follows.
"""

import asyncio
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from swarm.errors import ProtocolError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream

SHAKE_LIMIT_S = 5.0
_KEY_BYTES = 32
_PIECE_BYTES = 512 * wire.KIB
_MORE, _LAST = b"\1", b"\0"
_NONCE = struct.Struct("<Q4x")


async def call(
    stream: AuditedStream, identity: Identity, run_id: str, peer: PeerId, *, region: str = "", punches: bool = False
) -> "Circuit":
    """The opening end; `region` is the relay's.

    Raises ProtocolError if it is not `peer` that answers, StreamLostError, TimeoutError.
    """
    async with asyncio.timeout(SHAKE_LIMIT_S):
        own = X25519PrivateKey.generate()
        mine = own.public_key().public_bytes_raw()
        await _say(stream, identity, wire.RelayKey(run_id, peer, mine, b"", punches))
        said = await stream.receive(wire.RelayData | wire.Refusal, wire.MAX_REQUEST_BYTES)
        if isinstance(said, wire.Refusal):
            raise ProtocolError(f"the relay refused: {said.reason}")
        theirs = _checked(said, identity, run_id, peer, mine).key
    opening, answering = _keys(own, theirs, mine + theirs)
    return Circuit(stream, peer, opening, answering, punches, region)


async def answer(
    stream: AuditedStream, identity: Identity, run_id: str, peer: PeerId, *, region: str = ""
) -> "Circuit":
    """The end whose stream was parked. Raises as `call`."""
    async with asyncio.timeout(SHAKE_LIMIT_S):
        said = await stream.receive(wire.RelayData, wire.MAX_REQUEST_BYTES)
        asked = _checked(said, identity, run_id, peer, b"")
        theirs = asked.key
        own = X25519PrivateKey.generate()
        mine = own.public_key().public_bytes_raw()
        await _say(stream, identity, wire.RelayKey(run_id, peer, mine, theirs, asked.punches))
    opening, answering = _keys(own, theirs, theirs + mine)
    return Circuit(stream, peer, answering, opening, asked.punches, region)


class Circuit:
    """A `swarm.net.transport.Stream` through a relay."""

    def __init__(
        self,
        stream: AuditedStream,
        remote: PeerId,
        send_key: bytes,
        receive_key: bytes,
        punches: bool,
        relay_region: str,
    ) -> None:
        self.relay_region = relay_region
        """Where the relay is, as its passport says; empty while that is unknown."""
        self.punches = punches
        """Whether it is there to arrange a direct connection."""
        self._stream = stream
        self._remote = remote
        self._sealing, self._opening = AESGCM(send_key), AESGCM(receive_key)
        self._sent = self._received = 0
        self._one_at_a_time = asyncio.Lock()

    @property
    def remote(self) -> PeerId:
        return self._remote

    async def send(self, frame: bytes) -> None:
        async with self._one_at_a_time:
            view = memoryview(frame)
            for begin in range(0, max(1, len(view)), _PIECE_BYTES):
                piece = view[begin : begin + _PIECE_BYTES]
                mark = _MORE if begin + _PIECE_BYTES < len(view) else _LAST
                sealed = self._sealing.encrypt(_NONCE.pack(self._sent), mark + bytes(piece), None)
                self._sent += 1
                await self._stream.send(wire.RelayData(memoryview(sealed)))

    async def receive(self, max_bytes: int) -> bytearray:
        frame = bytearray()
        while True:
            data = await self._stream.receive(wire.RelayData, wire.MAX_RELAYED_BYTES)
            try:
                piece = self._opening.decrypt(_NONCE.pack(self._received), data.data, None)
            except InvalidTag:
                raise ProtocolError(f"a relayed frame that {self._remote} did not seal") from None
            self._received += 1
            frame += memoryview(piece)[1:]
            if len(frame) > max_bytes:
                raise ProtocolError(f"a relayed frame of more than the {max_bytes} bytes that are allowed")
            if piece[:1] != _MORE:
                return frame

    def limit_rate(self, bytes_per_s: int | None) -> None:
        self._stream.limit_rate(bytes_per_s)

    def close(self) -> None:
        self._stream.close()


async def _say(stream: AuditedStream, identity: Identity, key: wire.RelayKey) -> None:
    await stream.send(wire.RelayData(memoryview(wire.encode_sealed(wire.seal(identity, key)))))


def _checked(data: wire.RelayData, identity: Identity, run_id: str, peer: PeerId, answers: bytes) -> wire.RelayKey:
    """What the other end says. Raises ProtocolError if it is not `peer`, or means another end or another stream."""
    sealed = wire.decode(data.data, wire.Sealed)
    said = wire.unseal(sealed, wire.RelayKey)
    meant = (said.run_id, said.peer, said.answers) == (run_id, identity.peer_id, answers)
    if sealed.author != peer or not meant or len(said.key) != _KEY_BYTES:
        raise ProtocolError("the other end of a relayed stream is not who it should be")
    return said


def _keys(own: X25519PrivateKey, theirs: bytes, both: bytes) -> tuple[bytes, bytes]:
    """The keys of the opening and of the answering end. Raises ProtocolError for a public key that is none."""
    try:
        secret = own.exchange(X25519PublicKey.from_public_bytes(theirs))
    except ValueError:
        raise ProtocolError("a relayed stream with a key that is none") from None
    keys = HKDF(SHA256(), 2 * _KEY_BYTES, salt=both, info=b"tapestry circuit 1").derive(secret)
    return keys[:_KEY_BYTES], keys[_KEY_BYTES:]
