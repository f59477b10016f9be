"""Lanes: direct, encrypted TCP connections beside libp2p, for the bulk of a round.

libp2p stays what authenticates: over one of its streams a peer gets a *ticket* (where to dial, and a fresh 256-bit
secret), which is as confidential and as forward-secret as that stream. Whoever presents the ticket's id on TCP is the
peer it was given to, because only the two ends know its secret. A peer that cannot be dialled so (a NAT, a firewall)
is reached over libp2p as before; nothing in the protocol depends on a lane.

Why not libp2p for everything: its daemon costs about 2 CPU-seconds per GB and end, TLS from Python 1.2, this 0.3.

Opening, dialler first:  ticket id (16) | nonce (16)   ->
                                                       <- nonce (16)
Both derive two keys, one per direction, by HKDF-SHA256 from the secret and both nonces. What follows is `lane.py`'s. A
connection whose stream has ended carries the next one, if that comes soon.
"""

import asyncio
import os
import socket
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net.lane import GONE, Connection, Lane
from swarm.net.rates import Meter
from swarm.net.transport import StreamHandler, StreamLostError

ID_BYTES = 16
KEY_BYTES = 32
TICKET_LIFETIME_S = 3600.0
MAX_TICKET_BYTES = 4096
_MAX_TICKETS = 4096
_MAX_GREETING = 256
"""Connections that have not said yet who they are; more are refused."""
_GREETING_LIMIT_S = 5.0
_DIAL_LIMIT_S = 2.0
_IDLE_LIMIT_S = 60.0
"""How long the dialler keeps a connection without a stream: middleboxes forget one that is silent for long."""
_MAX_IDLE = 4
"""Of one peer."""
_MAX_OPEN = 32
"""Connections that one peer may hold to this one."""


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


class Lanes:
    """This peer's lanes: the door for those it gave tickets, and the way out to those who gave it one."""

    def __init__(self) -> None:
        self.meter = Meter()
        self._given: dict[bytes, _Given] = {}
        self._greeting = 0
        self._servers: list[asyncio.Server] = []
        self._handler: StreamHandler | None = None
        self._ports: dict[str, int] = {}
        self._idle: dict[PeerId, list[tuple[float, Connection]]] = {}
        self._open: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, hosts: Sequence[str]) -> None:
        """Opens the door on a free port of each host; a host that cannot be listened on has no lanes."""
        for host in hosts:
            with suppress(OSError):
                server = await asyncio.start_server(self._accepted, host, 0)
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

    @property
    def idle_peers(self) -> frozenset[PeerId]:
        """To whom connections are kept that carry nothing now."""
        return frozenset(self._idle)

    async def dial(self, peer: PeerId, ticket: Ticket) -> Lane:
        """A lane to the peer that gave this ticket. Raises StreamLostError if none of its addresses answers."""
        return self._begin(self._idle_to(peer) or await self._connect(peer, ticket))

    async def _connect(self, peer: PeerId, ticket: Ticket) -> Connection:
        """The first address that answers; those that drop packets hold up nobody."""
        won: Connection | None = None
        dials = [asyncio.create_task(self._dial(peer, ticket, host, port)) for host, port in ticket.addresses]
        try:
            async with asyncio.timeout(_DIAL_LIMIT_S):
                for dial in asyncio.as_completed(dials):
                    with suppress(*GONE):
                        won = await dial
                        break
        except TimeoutError:
            pass  # nobody answered
        finally:
            for dial in dials:
                dial.cancel()
            for ended in await asyncio.gather(*dials, return_exceptions=True):
                if isinstance(ended, Connection) and ended is not won:
                    self._drop(ended)
        if won is None:
            raise StreamLostError(f"{peer} cannot be dialled directly")
        return won

    def again(self, peer: PeerId) -> Lane | None:
        """A lane on a connection that is there already and idle; None if there is none."""
        connection = self._idle_to(peer)
        return None if connection is None else self._begin(connection)

    async def dial_by(self, made: socket.socket, peer: PeerId, ticket: Ticket) -> Lane:
        """A lane on a connection made in another way, to the peer that gave this ticket. Raises StreamLostError."""
        reader, writer = await asyncio.open_connection(sock=made)
        try:
            async with asyncio.timeout(_GREETING_LIMIT_S):
                return self._begin(await self._introduce(peer, ticket, reader, writer))
        except (TimeoutError, *GONE) as error:
            raise StreamLostError(f"{peer} does not answer on a direct connection: {error}") from None

    async def accept_by(self, made: socket.socket) -> None:
        """Takes a connection made in another way like one that came in by the door."""
        self._accepted(*await asyncio.open_connection(sock=made))

    async def answers(self, peer: PeerId, ticket: Ticket, host: str) -> bool:
        """Whether the peer that gave this ticket answers at this host: it must end an empty stream under its keys."""
        ports = dict.fromkeys(port for _, port in ticket.addresses[:_MAX_IDLE])
        here = msgspec.structs.replace(ticket, addresses=tuple((host, port) for port in ports))
        try:
            connection = await self._connect(peer, here)
        except StreamLostError:
            return False
        try:
            connection.send_end()
            async with asyncio.timeout(_DIAL_LIMIT_S):
                return not await connection.receive(0)
        except (TimeoutError, ProtocolError, *GONE):
            return False
        finally:
            self._drop(connection)

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        for connection in list(self._open):
            self._drop(connection)

    def _idle_to(self, peer: PeerId) -> Connection | None:
        """A connection that may carry another stream."""
        idle = self._idle.get(peer, [])
        while idle:
            since_s, connection = idle.pop()
            if connection.is_usable and monotonic_s() - since_s < _IDLE_LIMIT_S:
                return connection
            self._drop(connection)
        return None

    def _begin(self, connection: Connection) -> Lane:
        """A stream on a connection this peer dialled; the connection comes back when the stream has ended."""
        lane = Lane(connection)
        self._spawn(self._take_back(lane, connection))
        return lane

    async def _take_back(self, lane: Lane, connection: Connection) -> None:
        await lane.done
        self._sweep()
        idle = self._idle.setdefault(connection.remote, [])
        if connection.is_usable and len(idle) < _MAX_IDLE:
            idle.append((monotonic_s(), connection))
        else:
            self._drop(connection)

    def _sweep(self) -> None:
        """Drops what has been idle for too long, of all peers: who has left for good is never dialled again."""
        old_s = monotonic_s() - _IDLE_LIMIT_S
        for peer, idle in list(self._idle.items()):
            kept = [(since_s, one) for since_s, one in idle if one.is_usable and since_s > old_s]
            for each in idle:
                if each not in kept:
                    self._drop(each[1])
            if kept:
                self._idle[peer] = kept
            else:
                del self._idle[peer]

    def _drop(self, connection: Connection) -> None:
        self._open.discard(connection)
        self.meter.leave(connection.socket)
        connection.close()

    def _addresses(self, visible_hosts: Sequence[str]) -> tuple[tuple[str, int], ...]:
        found = [(host, port) for host, port in self._ports.items() if host not in ("0.0.0.0", "::")]
        anywhere = self._ports.get("0.0.0.0") or self._ports.get("::")
        if anywhere is not None:
            found += [(host, anywhere) for host in visible_hosts]
        return tuple(dict.fromkeys(found))

    async def _dial(self, peer: PeerId, ticket: Ticket, host: str, port: int) -> Connection:
        return await self._introduce(peer, ticket, *await asyncio.open_connection(host, port))

    async def _introduce(
        self, peer: PeerId, ticket: Ticket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Connection:
        """The dialler's side of the opening."""
        try:
            nonce = os.urandom(ID_BYTES)
            writer.write(ticket.id + nonce)
            answer = await reader.readexactly(ID_BYTES)
            outward, inward = _keys(ticket.secret, nonce + answer)
            return self._connection(peer, reader, writer, outward, inward)
        except BaseException:
            writer.close()
            raise

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._spawn(self._accept(reader, writer))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle(self, lane: Lane) -> None:
        """A stream that arrives before anybody serves ends at once; that much shows that this peer can be dialled."""
        if self._handler is not None:
            await self._handler(lane)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            given, nonces = await self._greet(reader, writer)
        except (TimeoutError, *GONE, ProtocolError):
            writer.close()
            return
        inward, outward = _keys(given.ticket.secret, nonces)
        connection = self._connection(given.peer, reader, writer, outward, inward)
        try:
            # A little longer than the dialler keeps it, so that it is not closed under a stream that begins.
            while connection.is_usable and await connection.begins(2 * _IDLE_LIMIT_S):
                lane = Lane(connection)
                # A task of its own: whoever ends this stream's work does not end the connection.
                serving = asyncio.ensure_future(self._handle(lane))
                try:
                    await asyncio.wait([serving])
                finally:
                    serving.cancel()
                    lane.close()
                if not serving.cancelled():
                    serving.result()
                await lane.done
        finally:
            self._drop(connection)

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
            if sum(connection.remote == given.peer for connection in self._open) >= _MAX_OPEN:
                raise ProtocolError("too many lanes of one peer")
            answer = os.urandom(ID_BYTES)
            writer.write(answer)
            return given, opening[ID_BYTES:] + answer
        finally:
            self._greeting -= 1

    def _connection(
        self,
        peer: PeerId,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        send_key: bytes,
        receive_key: bytes,
    ) -> Connection:
        connection = Connection(peer, reader, writer, send_key, receive_key)
        self.meter.watch(connection.socket)
        self._open.add(connection)
        return connection


def _keys(secret: bytes, nonces: bytes) -> tuple[bytes, bytes]:
    """The dialler's and the listener's sending keys."""
    both = HKDF(SHA256(), 2 * KEY_BYTES, salt=nonces, info=b"tapestry lane 1").derive(secret)
    return both[:KEY_BYTES], both[KEY_BYTES:]
