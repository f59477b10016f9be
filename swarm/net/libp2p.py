"""The transport over libp2p: raw streams through p2pd, reached with hivemind's `P2P`. One of two hivemind adapters.

Streams for many bytes take a lane (`lanes.py`) where the other end can be dialled directly.
"""

import asyncio
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from hivemind.p2p import P2P, PeerID
from hivemind.p2p.p2p_daemon_bindings.datastructures import StreamInfo
from hivemind.p2p.p2p_daemon_bindings.utils import P2PDaemonError
from hivemind.utils.multiaddr import Multiaddr as HivemindMultiaddr
from multiaddr import Multiaddr

from swarm.clock import monotonic_s, thread_busy_s
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.addresses import host_of, peer_of, without_peer
from swarm.net.circuit import Circuit
from swarm.net.dialback import DIAL_LIMIT_S, MAX_PORTS, MAX_QUESTION_BYTES, AskDialBack, DialledBack, answers_libp2p
from swarm.net.lanes import MAX_TICKET_BYTES, Lanes, Ticket
from swarm.net.pipe import take_over
from swarm.net.punch import give_lane, open_lane
from swarm.net.transport import Stream, StreamHandler, StreamLostError

PROTOCOL = "/tapestry/1"
TICKET_PROTOCOL = "/tapestry/lane/1"
DIAL_BACK_PROTOCOL = "/tapestry/dial-back/1"
_LENGTH = struct.Struct("<I")
_CONNECT_LIMIT_S = 10.0
_TICKET_LIMIT_S = 5.0
_DIAL_BACK_LIMIT_S = 2 * DIAL_LIMIT_S + 2.0
_MAX_DIALLING_BACK = 16
"""Questions to dial back that are seen to at once; more are refused."""
_MAX_TICKETS = 1024
"""Of other peers, that are kept; whoever was dialled longest ago is asked for another one."""
_NO_LANE_S = 60.0
"""How long a peer that could not be dialled directly is reached over libp2p before that is tried again."""
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

    async def receive(self, max_bytes: int) -> bytes | bytearray:
        try:
            (length,) = _LENGTH.unpack(await self._pipe.read(_LENGTH.size))
            if length > max_bytes:
                raise ProtocolError(f"a frame of {length} bytes where at most {max_bytes} are allowed")
            return await self._pipe.read(length)
        except _GONE as error:
            raise StreamLostError(f"stream from {self._remote} ended: {type(error).__name__}") from None

    def limit_rate(self, bytes_per_s: int | None) -> None:
        """Not here: the daemon's connection carries all streams to a peer."""

    def close(self) -> None:
        self._writer.close()


class LibP2PTransport:
    """Streams to peers by id; p2pd finds their addresses, or `connect` is told them."""

    def __init__(self, p2p: P2P, say: Callable[[str], None]) -> None:
        self.p2p = p2p
        self._say = say
        self.lanes = Lanes()
        self._tickets: dict[PeerId, Ticket] = {}
        self._no_lane_until_s: dict[PeerId, float] = {}
        self._dialling_back = 0
        assert p2p.peer_id is not None, "an attached P2P knows its id"
        self._peer_id = PeerId(p2p.peer_id.to_base58())

    @classmethod
    async def attach(cls, control: Path, listen: Sequence[Multiaddr], say: Callable[[str], None]) -> "LibP2PTransport":
        """Attaches to a running daemon's control socket; lanes listen on the hosts that the daemon listens on."""
        transport = cls(await P2P.replicate(HivemindMultiaddr(f"/unix{control}")), say)
        await transport.lanes.listen(sorted({host for address in listen if (host := host_of(address)) is not None}))
        await transport.p2p.add_binary_stream_handler(TICKET_PROTOCOL, transport._give_ticket)
        await transport.p2p.add_binary_stream_handler(DIAL_BACK_PROTOCOL, transport._dial_back)
        return transport

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

    async def open_bulk(self, peer: PeerId) -> Stream:
        if monotonic_s() < self._no_lane_until_s.get(peer, 0.0):
            return await self.open(peer)
        lane = await self._lane(peer)
        if lane is not None:
            return lane
        now_s = monotonic_s()
        self._no_lane_until_s = {each: at_s for each, at_s in self._no_lane_until_s.items() if at_s > now_s}
        self._no_lane_until_s[peer] = now_s + _NO_LANE_S
        self._say(f"no direct lane to {peer}: its parts go over libp2p, at several times the processor time")
        return await self.open(peer)

    async def _lane(self, peer: PeerId) -> Stream | None:
        """A lane by a kept ticket, or by a fresh one if that has expired or its giver started anew."""
        kept = self._tickets.pop(peer, None)
        for ticket in (kept, None) if kept is not None else (None,):
            current = ticket or await self._ask_ticket(peer)
            try:
                lane = await self.lanes.dial(peer, current)
            except StreamLostError:
                continue
            self._tickets[peer] = current
            if len(self._tickets) > _MAX_TICKETS:
                del self._tickets[next(iter(self._tickets))]
            return lane
        return None

    @property
    def rates_bps(self) -> tuple[int, int]:
        return self.lanes.meter.rates_bps

    async def measure(self) -> None:
        await self.lanes.meter.measure(monotonic_s, thread_busy_s)

    async def _ask_ticket(self, peer: PeerId) -> Ticket:
        try:
            _, reader, writer = await self.p2p.call_binary_stream_handler(PeerID.from_base58(peer), TICKET_PROTOCOL)
            stream = LibP2PStream(peer, reader, writer)
            try:
                async with asyncio.timeout(_TICKET_LIMIT_S):
                    return wire.decode(await stream.receive(MAX_TICKET_BYTES), Ticket)
            finally:
                stream.close()
        except (*_GONE, TimeoutError, ProtocolError) as error:
            raise StreamLostError(f"{peer} cannot be reached: {_line(error)}") from None

    async def _give_ticket(self, info: StreamInfo, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = LibP2PStream(PeerId(info.peer_id.to_base58()), reader, writer)
        try:
            hosts = [host for address in await self.addresses() if (host := host_of(address)) is not None]
            await stream.send(msgspec.msgpack.encode(self.lanes.ticket_for(stream.remote, hosts)))
            await stream.receive(0)  # the dialler closes once it has it
        except (StreamLostError, ProtocolError):
            return
        finally:
            stream.close()

    async def is_connected(self, peer: PeerId) -> bool:
        """Whether the daemon holds a connection to a peer, whoever opened it: streams need no dialling then."""
        return any(found.peer_id.to_base58() == peer for found in await self.p2p.list_peers())

    def lane_again(self, peer: PeerId) -> Stream | None:
        """A lane on a connection that is there already and idle."""
        return self.lanes.again(peer)

    async def punch(self, circuit: Circuit, host: str) -> Stream:
        """A lane to the other end of a relayed stream, through both routers. Raises StreamLostError."""
        return await open_lane(self.lanes, circuit, host)

    async def be_punched(self, circuit: Circuit, host: str) -> None:
        """The other side of `punch`. Raises StreamLostError."""
        await give_lane(self.lanes, circuit, host)

    async def ask_dial_back(self, peer: PeerId) -> DialledBack:
        """Asks a peer whether it can dial this one. Raises StreamLostError if it gives no answer."""
        addresses = await self.addresses()
        ports = {int(str(value)) for one in addresses for protocol, value in one.items() if protocol.name == "tcp"}
        hosts = [host for address in addresses if (host := host_of(address)) is not None]
        question = AskDialBack(tuple(sorted(ports))[:MAX_PORTS], self.lanes.ticket_for(peer, hosts[:MAX_PORTS]))
        try:
            async with asyncio.timeout(_DIAL_BACK_LIMIT_S):
                _, reader, writer = await self.p2p.call_binary_stream_handler(
                    PeerID.from_base58(peer), DIAL_BACK_PROTOCOL
                )
                stream = LibP2PStream(peer, reader, writer)
                try:
                    await stream.send(msgspec.msgpack.encode(question))
                    return wire.decode(await stream.receive(MAX_QUESTION_BYTES), DialledBack)
                finally:
                    stream.close()
        except (*_GONE, StreamLostError, TimeoutError, ProtocolError) as error:
            raise StreamLostError(f"{peer} does not dial back: {_line(error)}") from None

    async def _dial_back(self, info: StreamInfo, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers such a question, unless it comes over a relay, whose host would be the wrong one to dial."""
        stream = LibP2PStream(PeerId(info.peer_id.to_base58()), reader, writer)
        host = host_of(Multiaddr(str(info.addr)))
        try:
            if host is None or "p2p-circuit" in str(info.addr) or self._dialling_back >= _MAX_DIALLING_BACK:
                return
            self._dialling_back += 1
            try:
                async with asyncio.timeout(_DIAL_BACK_LIMIT_S):
                    asked = wire.decode(await stream.receive(MAX_QUESTION_BYTES), AskDialBack)
                    asked.check()
                    lane, *libp2p = await asyncio.gather(
                        self.lanes.answers(stream.remote, asked.lane, host),
                        *(answers_libp2p(host, port) for port in asked.ports),
                    )
                    await stream.send(msgspec.msgpack.encode(DialledBack(host, any(libp2p), lane)))
                    await stream.receive(0)  # the asker closes once it has it
            finally:
                self._dialling_back -= 1
        except (StreamLostError, ProtocolError, TimeoutError):
            return
        finally:
            stream.close()

    async def serve(self, handler: StreamHandler) -> None:
        async def accept(info: StreamInfo, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            stream = LibP2PStream(PeerId(info.peer_id.to_base58()), reader, writer)
            try:
                await handler(stream)
            finally:
                stream.close()

        self.lanes.serve(handler)
        await self.p2p.add_binary_stream_handler(PROTOCOL, accept)

    async def close(self) -> None:
        await self.lanes.close()
        await self.p2p.shutdown()


def _line(error: BaseException) -> str:
    """What went wrong in one line; p2pd's own messages have several."""
    return " ".join(str(error).split())[:200] or type(error).__name__
