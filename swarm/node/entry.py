"""A way into the swarm: any of the addresses a person typed, or of the peers this state folder remembers."""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from typing import Protocol

from multiaddr import Multiaddr

from swarm.errors import NetworkError
from swarm.identity.peer_id import PeerId
from swarm.net.addresses import host_of, peer_of
from swarm.net.transport import StreamLostError

REACH_LIMIT_S = 7.0
"""A person who mistyped an address should read so within 15 s of starting, a slow machine's start included."""
MORE_LIMIT_S = 0.5
"""Once one way is open, how long the others may take: any one of them suffices."""
MAX_REMEMBERED_DIALLED = 8


class Dialler(Protocol):
    """The part of a transport that dials."""

    async def connect(self, addresses: Sequence[Multiaddr]) -> None:
        """Raises StreamLostError."""
        ...


async def connects(dialler: Dialler, addresses: Sequence[Multiaddr]) -> bool:
    """Whether one peer answers at one of its addresses, in time."""
    try:
        async with asyncio.timeout(REACH_LIMIT_S):
            await dialler.connect(addresses)
    except (TimeoutError, StreamLostError):
        return False
    return True


async def reach(dialler: Dialler, ways: Mapping[PeerId, Sequence[Multiaddr]]) -> list[Multiaddr]:
    """Dials all ways at once; an address of each that is open soon after the first one is, in the order of `ways`."""
    tasks = {peer: asyncio.create_task(connects(dialler, addresses)) for peer, addresses in ways.items()}
    try:
        pending = set(tasks.values())
        while pending and not any(task.done() and task.result() for task in tasks.values()):
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if pending:
            await asyncio.wait(pending, timeout=MORE_LIMIT_S)
        return [ways[peer][0] for peer, task in tasks.items() if task.done() and task.result()]
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


async def enter(
    dialler: Dialler, typed: Sequence[Multiaddr], remembered: Mapping[PeerId, Sequence[Multiaddr]]
) -> tuple[list[Multiaddr], str]:
    """Addresses that answered, and what to tell a person about it; nothing to tell if one of those typed did.

    Raises:
        NetworkError: nobody answered, and there is nobody this state folder could wait for.
    """
    few = dict(list(remembered.items())[:MAX_REMEMBERED_DIALLED])
    typed_ways = by_peer(typed)
    reached = await reach(dialler, {**few, **typed_ways})
    if not typed or any(peer_of(address) in typed_ways for address in reached):
        return reached, ""
    where = ", ".join(str(address) for address in typed)
    if reached:
        return reached, f"cannot reach {where}: entering through {len(reached)} of the peers met before"
    if few:
        return (
            [],
            f"cannot reach {where}, nor the {len(few)} peers met last: waiting for one of {len(remembered)} met before",
        )
    raise NetworkError(f"cannot reach {where}: is it running, and is the address the one it printed?")


def in_turn(remembered: Mapping[PeerId, Sequence[Multiaddr]], number: int) -> dict[PeerId, Sequence[Multiaddr]]:
    """As many as are dialled in one go, others for every `number`, and all of them in a few numbers."""
    ways = list(remembered.items())
    goes = max(1, -(-len(ways) // MAX_REMEMBERED_DIALLED))
    return dict(ways[number % goes :: goes])


def with_port(listen: Sequence[Multiaddr], port: int) -> list[Multiaddr]:
    """The same addresses to listen on, with `port` for "any" where it is still free: who knew it finds it again."""
    return [_with_port(address, port) for address in listen]


def port_of(addresses: Sequence[Multiaddr]) -> int:
    """The TCP port of the first address that has one; 0 if none has."""
    ports = (int(str(value)) for address in addresses for protocol, value in address.items() if protocol.name == "tcp")
    return next(ports, 0)


def by_peer(addresses: Sequence[Multiaddr]) -> dict[PeerId, Sequence[Multiaddr]]:
    """The addresses of each peer that they name, in their order."""
    ways: dict[PeerId, list[Multiaddr]] = {}
    for address in addresses:
        ways.setdefault(peer_of(address), []).append(address)
    return dict(ways)


def _with_port(address: Multiaddr, port: int) -> Multiaddr:
    host = host_of(address)
    if port == 0 or host is None or port_of([address]) != 0 or not _is_free(host, port):
        return address
    return Multiaddr(str(address).replace("/tcp/0", f"/tcp/{port}", 1))


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
