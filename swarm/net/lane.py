"""One encrypted TCP connection of a lane, and the streams it carries one after another.

Frames are `length (4, little-endian, authenticated) | AES-256-GCM ciphertext and tag`, the nonce being the frame's
number on this connection and in this direction. An empty frame ends a stream; once both ends have sent one, the
connection can carry the next stream, with no handshake and at the rate that congestion control has found. The dialler
begins streams.
"""

import asyncio
import socket
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net.pipe import Pipe, take_over
from swarm.net.transport import StreamLostError

_TAG_BYTES = 16
_LENGTH = struct.Struct("<I")
_NONCE = struct.Struct("<Q4x")
_DRAIN_LIMIT_S = 5.0
_MAX_DRAINED_BYTES = 64 * 1024 * 1024
GONE = (OSError, asyncio.IncompleteReadError, RuntimeError)
"""How a connection that is gone shows itself."""


class Connection:
    """Keys, counters and memory of one connection. One stream at a time."""

    def __init__(
        self,
        remote: PeerId,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        send_key: bytes,
        receive_key: bytes,
    ) -> None:
        """Takes the connection over: the reader and the writer must not be used any more."""
        self.remote = remote
        self.socket: socket.socket = writer.get_extra_info("socket")
        self._writer = writer  # kept, because a writer that is dropped closes its transport
        self._pipe: Pipe = take_over(reader, writer)
        self._sealing, self._opening = AESGCM(send_key), AESGCM(receive_key)
        self._sent = self._received = 0
        self._sealed = self._frame = bytearray()
        """The frame received last, as it came and opened; their memory serves for the next one."""
        self._is_torn = False
        """Whether a read was cancelled in the middle of a frame."""

    @property
    def is_usable(self) -> bool:
        return not self._is_torn and not self._pipe.has_failed

    async def begins(self, limit_s: float) -> bool:
        """Whether the other end begins a stream within the limit."""
        try:
            async with asyncio.timeout(limit_s):
                await self._pipe.readable()
        except (TimeoutError, *GONE):
            return False
        return True

    async def send(self, frame: bytes) -> None:
        """Raises OSError or RuntimeError when the connection is gone."""
        await self._pipe.write(self._seal(frame))

    def send_end(self) -> None:
        """Ends this side of the stream at hand, without waiting."""
        self._pipe.write_soon(self._seal(b""))

    async def receive(self, max_bytes: int) -> memoryview:
        """The next frame, good until the one after it; empty at the end of the stream.

        Raises:
            ProtocolError: too long, or not sealed by the other end.
            OSError: the connection is gone.
        """
        head = await self._pipe.read(_LENGTH.size)
        self._is_torn = True
        (length,) = _LENGTH.unpack(head)
        if length > max_bytes:
            raise ProtocolError(f"a frame of {length} bytes where at most {max_bytes} are allowed")
        if length > len(self._frame) or not self._sealed:
            self._sealed, self._frame = bytearray(length + _TAG_BYTES), bytearray(length)
        sealed, frame = memoryview(self._sealed)[: length + _TAG_BYTES], memoryview(self._frame)[:length]
        await self._pipe.read_into(sealed)
        try:
            self._opening.decrypt_into(_NONCE.pack(self._received), sealed, head, frame)
        except InvalidTag:
            raise ProtocolError("a frame on a lane that its peer did not seal") from None
        self._received += 1
        self._is_torn = False
        return frame

    async def drain(self) -> None:
        """Reads what is left of a stream until the other end has ended it too; closes the connection otherwise."""
        left = _MAX_DRAINED_BYTES
        await asyncio.sleep(0)  # a reader that was cancelled with its stream lets go first
        if self._pipe.is_read:
            self.close()
            return
        try:
            async with asyncio.timeout(_DRAIN_LIMIT_S):
                while frame := await self.receive(left):
                    left -= len(frame)
        except (TimeoutError, ProtocolError, *GONE):
            self.close()

    def limit_rate(self, bytes_per_s: int | None) -> None:
        """Paces what is sent from now on, in the kernel."""
        self._pipe.limit_rate(bytes_per_s)

    def close(self) -> None:
        self._is_torn = True
        self._writer.close()

    def _seal(self, frame: bytes) -> bytearray:
        length = _LENGTH.pack(len(frame))
        sealed = bytearray(_LENGTH.size + len(frame) + _TAG_BYTES)
        sealed[: _LENGTH.size] = length
        self._sealing.encrypt_into(_NONCE.pack(self._sent), frame, length, memoryview(sealed)[_LENGTH.size :])
        self._sent += 1
        return sealed


class Lane:
    """A `swarm.net.transport.Stream` on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_closed = False
        self._has_ended = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Set once both ends have ended the stream, or the connection is closed."""
        self._draining: asyncio.Task[None] | None = None

    @property
    def remote(self) -> PeerId:
        return self._connection.remote

    async def send(self, frame: bytes) -> None:
        if self._is_closed:
            raise StreamLostError(f"lane to {self.remote} is closed")
        try:
            await self._connection.send(frame)
        except GONE as error:
            raise StreamLostError(f"lane to {self.remote}: {error}") from None

    async def receive(self, max_bytes: int) -> memoryview:
        """One frame, good until the next one is received."""
        if self._is_closed or self._has_ended:
            raise StreamLostError(f"lane from {self.remote} has ended")
        try:
            frame = await self._connection.receive(max_bytes)
        except GONE as error:
            raise StreamLostError(f"lane from {self.remote} ended: {type(error).__name__}") from None
        if not frame:
            self._has_ended = True
            raise StreamLostError(f"lane from {self.remote} has ended")
        return frame

    def limit_rate(self, bytes_per_s: int | None) -> None:
        self._connection.limit_rate(bytes_per_s)

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if not self._connection.is_usable:
            self._connection.close()
        else:
            self._connection.send_end()
            if not self._has_ended:
                self._draining = asyncio.get_running_loop().create_task(self._drain())
                return
        self._finish()

    async def _drain(self) -> None:
        try:
            await self._connection.drain()
        finally:
            self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
