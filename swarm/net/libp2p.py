"""The transport over libp2p: raw streams through p2pd, reached with hivemind's `P2P`. One of two hivemind adapters."""

import asyncio
import struct
from collections.abc import Sequence
from pathlib import Path

from hivemind.p2p import P2P, PeerID
from hivemind.p2p.p2p_daemon_bindings.datastructures import StreamInfo
from hivemind.p2p.p2p_daemon_bindings.utils import P2PDaemonError
from hivemind.utils.multiaddr import Multiaddr as HivemindMultiaddr
from multiaddr import Multiaddr

from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net.addresses import peer_of, without_peer
from swarm.net.pipe import take_over
from swarm.net.transport import StreamHandler, StreamLostError

PROTOCOL = "/tapestry/1"
_LENGTH = struct.Struct("<I")
_CONNECT_LIMIT_S = 10.0
_GONE = (OSError, asyncio.IncompleteReadError, P2PDaemonError, RuntimeError)
"""How a dead peer, stream or daemon shows itself; uvloop says RuntimeError for a write on a closed transport."""


class LibP2PStream:
    """Length-prefixed frames on one libp2p stream."""

    def __init__(self, remote: PeerId, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Takes the connection over: the reader and the writer must not be used any more."""
        self._remote = remote
        self._writer = writer  # kept, because a writer that is dropped closes its transport
        self._pipe = take_over(reader, writer)

    @property
    def remote(self) -> PeerId:
        return self._remote

    async def send(self, frame: bytes) -> None:
        try:
            await self._pipe.write(_LENGTH.pack(len(frame)), frame)
        except _GONE as error:
            raise StreamLostError(f"stream to {self._remote}: {_line(error)}") from None

    async def receive(self, max_bytes: int) -> bytes:
        try:
            (length,) = _LENGTH.unpack(await self._pipe.read(_LENGTH.size))
            if length > max_bytes:
                raise ProtocolError(f"a frame of {length} bytes where at most {max_bytes} are allowed")
            return await self._pipe.read(length)
        except _GONE as error:
            raise StreamLostError(f"stream from {self._remote} ended: {type(error).__name__}") from None

    def close(self) -> None:
        self._writer.close()


class LibP2PTransport:
    """Streams to peers by id; p2pd finds their addresses, or `connect` is told them."""

    def __init__(self, p2p: P2P) -> None:
        self.p2p = p2p
        assert p2p.peer_id is not None, "an attached P2P knows its id"
        self._peer_id = PeerId(p2p.peer_id.to_base58())

    @classmethod
    async def attach(cls, control: Path) -> "LibP2PTransport":
        """Attaches to a running daemon's control socket."""
        return cls(await P2P.replicate(HivemindMultiaddr(f"/unix{control}")))

    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    async def addresses(self) -> tuple[Multiaddr, ...]:
        """The addresses others can dial, each ending in /p2p/<peer id>."""
        own = Multiaddr(f"/p2p/{self._peer_id}")
        visible = await self.p2p.get_visible_maddrs(latest=True)
        return tuple(Multiaddr(without_peer(str(address))).encapsulate(own) for address in visible)

    async def connect(self, addresses: Sequence[Multiaddr]) -> None:
        """Dials one peer at the given addresses. Raises StreamLostError."""
        peer = peer_of(addresses[0])
        try:
            plain = [HivemindMultiaddr(without_peer(str(address))) for address in addresses]
            async with asyncio.timeout(_CONNECT_LIMIT_S):
                # hivemind offers no public way to dial; its client has one.
                await self.p2p._client.connect(PeerID.from_base58(peer), plain)  # pyright: ignore
        except (*_GONE, TimeoutError, ValueError) as error:  # ValueError: a protocol hivemind does not know
            raise StreamLostError(f"{addresses[0]} does not answer: {_line(error)}") from None

    async def open(self, peer: PeerId) -> LibP2PStream:
        try:
            _, reader, writer = await self.p2p.call_binary_stream_handler(PeerID.from_base58(peer), PROTOCOL)
        except _GONE as error:
            raise StreamLostError(f"{peer} cannot be reached: {_line(error)}") from None
        return LibP2PStream(peer, reader, writer)

    async def serve(self, handler: StreamHandler) -> None:
        async def accept(info: StreamInfo, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            stream = LibP2PStream(PeerId(info.peer_id.to_base58()), reader, writer)
            try:
                await handler(stream)
            finally:
                stream.close()

        await self.p2p.add_binary_stream_handler(PROTOCOL, accept)

    async def close(self) -> None:
        await self.p2p.shutdown()


def _line(error: BaseException) -> str:
    """What went wrong in one line; p2pd's own messages have several."""
    return " ".join(str(error).split())[:200] or type(error).__name__
