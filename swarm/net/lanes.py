"""Lanes: direct, encrypted TCP connections beside libp2p, for the bulk of a round.

libp2p stays what authenticates: over one of its streams a peer gets a *ticket* (where to dial, and a fresh 256-bit
secret), which is as confidential and as forward-secret as that stream. Whoever presents the ticket's id on TCP is the
peer it was given to, because only the two ends know its secret. A peer that cannot be dialled so (a NAT, a firewall)
is reached over libp2p as before; nothing in the protocol depends on a lane.

Why not libp2p for everything: its daemon costs about 2 CPU-seconds per GB and end, TLS from Python 1.2, this 0.3.

Opening, dialler first:  ticket id (16) | nonce (16)   ->
                                                       <- nonce (16)
Both derive two keys, one per direction, by HKDF-SHA256 from the secret and both nonces. Then frames:
length (4, little-endian, authenticated) | AES-256-GCM ciphertext and tag, the nonce being the frame's number.
"""

import asyncio
import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net.pipe import Pipe, take_over
from swarm.net.rates import Meter
from swarm.net.transport import StreamHandler, StreamLostError

ID_BYTES = 16
KEY_BYTES = 32
TAG_BYTES = 16
TICKET_LIFETIME_S = 3600.0
MAX_TICKET_BYTES = 4096
_MAX_TICKETS = 4096
_MAX_GREETING = 256
"""Connections that have not said yet who they are; more are refused."""
_GREETING_LIMIT_S = 5.0
_DIAL_LIMIT_S = 2.0
_LENGTH = struct.Struct("<I")
_NONCE = struct.Struct("<Q4x")
_GONE = (OSError, asyncio.IncompleteReadError, RuntimeError)


class Ticket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one peer may open lanes to another; travels over an authenticated stream only."""

    id: bytes
    secret: bytes
    addresses: tuple[tuple[str, int], ...]
    """Hosts and ports to try, in order."""


@dataclass(frozen=True)
class _Given:
    peer: PeerId
    ticket: Ticket
    until_s: float


class Lane:
    """A stream of frames on one TCP connection."""

    def __init__(
        self,
        remote: PeerId,
        writer: asyncio.StreamWriter,
        pipe: Pipe,
        meter: Meter,
        send_key: bytes,
        receive_key: bytes,
    ) -> None:
        self._remote = remote
        self._meter = meter
        self._pipe = pipe
        self._writer = writer  # kept, because a writer that is dropped closes its transport
        self._sealing, self._opening = AESGCM(send_key), AESGCM(receive_key)
        self._sent = self._received = 0
        self._sealed = self._frame = bytearray()
        """The frame received last, as it came and opened; their memory serves for the next one."""

    @property
    def remote(self) -> PeerId:
        return self._remote

    async def send(self, frame: bytes) -> None:
        length = _LENGTH.pack(len(frame))
        sealed = bytearray(_LENGTH.size + len(frame) + TAG_BYTES)
        sealed[: _LENGTH.size] = length
        self._sealing.encrypt_into(_NONCE.pack(self._sent), frame, length, memoryview(sealed)[_LENGTH.size :])
        self._sent += 1
        try:
            await self._pipe.write(sealed)
        except _GONE as error:
            raise StreamLostError(f"lane to {self._remote}: {error}") from None

    async def receive(self, max_bytes: int) -> memoryview:
        """One frame, good until the next one is received."""
        try:
            head = await self._pipe.read(_LENGTH.size)
            (length,) = _LENGTH.unpack(head)
            if length > max_bytes:
                raise ProtocolError(f"a frame of {length} bytes where at most {max_bytes} are allowed")
            if length > len(self._frame):
                self._sealed, self._frame = bytearray(length + TAG_BYTES), bytearray(length)
            sealed = memoryview(self._sealed)[: length + TAG_BYTES]
            await self._pipe.read_into(sealed)
        except _GONE as error:
            raise StreamLostError(f"lane from {self._remote} ended: {type(error).__name__}") from None
        frame = memoryview(self._frame)[:length]
        try:
            self._opening.decrypt_into(_NONCE.pack(self._received), sealed, head, frame)
        except InvalidTag:
            raise ProtocolError("a frame on a lane that its peer did not seal") from None
        self._received += 1
        return frame

    def close(self) -> None:
        self._meter.leave(self._writer.get_extra_info("socket"))
        self._writer.close()


class Lanes:
    """This peer's lanes: the door for those it gave tickets, and the way out to those who gave it one."""

    def __init__(self) -> None:
        self.meter = Meter()
        self._given: dict[bytes, _Given] = {}
        self._greeting = 0
        self._servers: list[asyncio.Server] = []
        self._handler: StreamHandler | None = None
        self._ports: dict[str, int] = {}

    async def listen(self, hosts: Sequence[str]) -> None:
        """Opens the door on a free port of each host; a host that cannot be listened on has no lanes."""
        for host in hosts:
            with suppress(OSError):
                server = await asyncio.start_server(self._accept, host, 0)
                self._servers.append(server)
                self._ports[host] = server.sockets[0].getsockname()[1]

    def serve(self, handler: StreamHandler) -> None:
        """Who gets the streams that arrive."""
        self._handler = handler

    def ticket_for(self, peer: PeerId, visible_hosts: Sequence[str]) -> Ticket:
        """A fresh ticket for a peer that an authenticated stream names; its older ones stay good till they expire."""
        now_s = monotonic_s()
        self._given = {key: given for key, given in self._given.items() if given.until_s > now_s}
        while len(self._given) >= _MAX_TICKETS:
            del self._given[next(iter(self._given))]
        ticket = Ticket(os.urandom(ID_BYTES), os.urandom(KEY_BYTES), self._addresses(visible_hosts))
        self._given[ticket.id] = _Given(peer, ticket, now_s + TICKET_LIFETIME_S)
        return ticket

    async def dial(self, peer: PeerId, ticket: Ticket) -> Lane:
        """A lane to the peer that gave this ticket. Raises StreamLostError if none of its addresses answers."""
        for host, port in ticket.addresses:
            with suppress(TimeoutError, *_GONE):
                async with asyncio.timeout(_DIAL_LIMIT_S):
                    return await self._dial(peer, ticket, host, port)
        raise StreamLostError(f"{peer} cannot be dialled directly")

    async def close(self) -> None:
        for server in self._servers:
            server.close()

    def _addresses(self, visible_hosts: Sequence[str]) -> tuple[tuple[str, int], ...]:
        found = [(host, port) for host, port in self._ports.items() if host not in ("0.0.0.0", "::")]
        anywhere = self._ports.get("0.0.0.0") or self._ports.get("::")
        if anywhere is not None:
            found += [(host, anywhere) for host in visible_hosts]
        return tuple(dict.fromkeys(found))

    async def _dial(self, peer: PeerId, ticket: Ticket, host: str, port: int) -> Lane:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            nonce = os.urandom(ID_BYTES)
            writer.write(ticket.id + nonce)
            answer = await reader.readexactly(ID_BYTES)
            outward, inward = _keys(ticket.secret, nonce + answer)
            return self._lane(peer, reader, writer, outward, inward)
        except BaseException:
            writer.close()
            raise

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = self._handler
        try:
            given, nonces = await self._greet(reader, writer)
        except (TimeoutError, *_GONE, ProtocolError):
            writer.close()
            return
        inward, outward = _keys(given.ticket.secret, nonces)
        lane = self._lane(given.peer, reader, writer, outward, inward)
        try:
            if handler is not None:
                await handler(lane)
        finally:
            lane.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[_Given, bytes]:
        """Who dialled, by its ticket, and both nonces. Raises ProtocolError for a ticket that was not given."""
        if self._greeting >= _MAX_GREETING:
            raise ProtocolError("too many connections that have not said who they are")
        self._greeting += 1
        try:
            async with asyncio.timeout(_GREETING_LIMIT_S):
                opening = await reader.readexactly(2 * ID_BYTES)
            given = self._given.get(opening[:ID_BYTES])
            if given is None or given.until_s <= monotonic_s():
                raise ProtocolError("a lane without a ticket")
            answer = os.urandom(ID_BYTES)
            writer.write(answer)
            return given, opening[ID_BYTES:] + answer
        finally:
            self._greeting -= 1

    def _lane(
        self,
        peer: PeerId,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        send_key: bytes,
        receive_key: bytes,
    ) -> Lane:
        self.meter.watch(writer.get_extra_info("socket"))
        return Lane(peer, writer, take_over(reader, writer), self.meter, send_key, receive_key)


def _keys(secret: bytes, nonces: bytes) -> tuple[bytes, bytes]:
    """The dialler's and the listener's sending keys."""
    both = HKDF(SHA256(), 2 * KEY_BYTES, salt=nonces, info=b"tapestry lane 1").derive(secret)
    return both[:KEY_BYTES], both[KEY_BYTES:]
