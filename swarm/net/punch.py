"""A direct TCP connection between two peers that are both behind NATs: each dials the other at the same moment.

Most routers keep the port that a connection leaves by, and let in what answers it. So both ends take a port, tell each
other over a relayed stream where they will be seen, and dial until the two attempts meet (TCP's simultaneous open).
Routers that choose another port for every target make it fail, and the relay goes on carrying the stream.
"""

import asyncio
import socket
from ipaddress import ip_address

import msgspec

from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.net import wire
from swarm.net.lane import Lane
from swarm.net.lanes import MAX_TICKET_BYTES, Lanes, Ticket
from swarm.net.transport import Stream, StreamLostError

PUNCH_LIMIT_S = 3.0
_TRY_LIMIT_S = 1.0
_PAUSE_S = 0.02
"""Between two tries, where the other's router refuses instead of dropping."""


class Punch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the author of this will be seen, if its router keeps the port."""

    host: str
    port: int
    ticket: Ticket | None
    """From the end that answers: what the other one opens a lane with."""


async def open_lane(lanes: Lanes, arranging: Stream, host: str) -> Lane:
    """A lane to the other end of a relayed stream, for a peer that others see at `host`. Raises StreamLostError."""
    try:
        taken = take_port(host)
        try:
            await _say(arranging, Punch(host, _port(taken), None))
            there = await _hear(arranging)
            if there.ticket is None:
                raise ProtocolError("an answer without a ticket")
        except BaseException:
            taken.close()
            raise
        return await lanes.dial_by(await punch(taken, there), arranging.remote, there.ticket)
    except (OSError, ProtocolError) as error:
        raise StreamLostError(f"no direct connection to {arranging.remote}: {error}") from None


async def give_lane(lanes: Lanes, arranging: Stream, host: str) -> None:
    """The other end of that. Raises StreamLostError."""
    try:
        there = await _hear(arranging)
        taken = take_port(host)
        try:
            await _say(arranging, Punch(host, _port(taken), lanes.ticket_for(arranging.remote, ())))
        except BaseException:
            taken.close()
            raise
        await lanes.accept_by(await punch(taken, there))
    except (OSError, ProtocolError) as error:
        raise StreamLostError(f"no direct connection to {arranging.remote}: {error}") from None


def take_port(host: str) -> socket.socket:
    """A socket bound to a free port, for a peer that others see at `host`. Raises OSError."""
    return _bound(socket.AF_INET6 if ":" in host else socket.AF_INET, 0)


async def punch(taken: socket.socket, there: Punch) -> socket.socket:
    """A connection from the taken port to where the other end dials from. Takes over `taken`.

    Raises:
        OSError: it did not come about in time.
    """
    loop = asyncio.get_running_loop()
    until_s = monotonic_s() + PUNCH_LIMIT_S
    family, port = taken.family, _port(taken)
    while True:
        try:
            async with asyncio.timeout(min(_TRY_LIMIT_S, until_s - monotonic_s())):
                await loop.sock_connect(taken, (there.host, there.port))
                return taken
        except (OSError, TimeoutError) as error:
            taken.close()
            if monotonic_s() + _PAUSE_S >= until_s:
                raise OSError(f"no direct connection to {there.host}: {error or 'no answer'}") from None
        except BaseException:
            taken.close()
            raise
        await asyncio.sleep(_PAUSE_S)
        taken = _bound(family, port)


async def _say(arranging: Stream, here: Punch) -> None:
    await arranging.send(msgspec.msgpack.encode(here))


async def _hear(arranging: Stream) -> Punch:
    """What the other end says. Raises ProtocolError unless it is a place that a peer can be seen at."""
    async with asyncio.timeout(PUNCH_LIMIT_S):
        there = wire.decode(await arranging.receive(MAX_TICKET_BYTES), Punch)
    try:
        address = ip_address(there.host)
    except ValueError:
        raise ProtocolError("a direct connection to no IP address") from None
    if address.is_loopback or address.is_multicast or address.is_unspecified or not 0 < there.port < 2**16:
        raise ProtocolError("a direct connection to where no peer is seen")
    return there


def _port(taken: socket.socket) -> int:
    return taken.getsockname()[1]


def _bound(family: int, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
    except OSError:
        made.close()
        raise
    return made
