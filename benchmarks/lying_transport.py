"""A transport whose peer gives wrong bytes: one bit in the middle of every piece of the state is the other way round.

Everything else goes as it is, the right leaves before the pieces included, so that only checking each piece finds it.
"""

from collections.abc import Awaitable, Callable

from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.transport import Buffer, Stream, StreamHandler, Transport


class _LyingStream:
    """`swarm.net.transport.Stream`."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    @property
    def remote(self) -> PeerId:
        return self._stream.remote

    async def send(self, frame: bytes) -> None:
        await self._stream.send(bend(frame))

    async def receive(self, max_bytes: int) -> Buffer:
        return await self._stream.receive(max_bytes)

    def limit_rate(self, bytes_per_s: int | None) -> None:
        self._stream.limit_rate(bytes_per_s)

    def close(self) -> None:
        self._stream.close()


class LyingTransport:
    """`swarm.net.transport.Transport` around another one; it lies to those that come to it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def peer_id(self) -> PeerId:
        return self._transport.peer_id

    async def open(self, peer: PeerId) -> Stream:
        return await self._transport.open(peer)

    async def open_bulk(self, peer: PeerId) -> Stream:
        return await self._transport.open_bulk(peer)

    @property
    def rates_bps(self) -> tuple[int, int]:
        return self._transport.rates_bps

    async def measure(self) -> None:
        await self._transport.measure()

    async def serve(self, handler: StreamHandler) -> None:
        await self._transport.serve(_lying(handler))


def _lying(handler: Callable[[Stream], Awaitable[None]]) -> StreamHandler:
    async def lie(stream: Stream) -> None:
        await handler(_LyingStream(stream))

    return lie


def bend(frame: bytes) -> bytes:
    """A piece of the state with one bit changed; any other frame as it is."""
    try:
        piece = wire.decode(frame, wire.StateChunk)
    except ProtocolError:
        return frame
    data = bytearray(piece.data)
    data[len(data) // 2] ^= 1
    return wire.encode(wire.StateChunk(piece.index, bytes(data)))
