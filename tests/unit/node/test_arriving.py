"""A peer without a state that reached nobody at its start: it goes on dialling, and whoever answers suffices."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from multiaddr import Multiaddr

from swarm.errors import NetworkError
from swarm.identity.peer_id import PeerId
from swarm.net.memory import MemoryDirectory, run_virtual
from swarm.net.transport import StreamLostError
from swarm.node.contacts import Contacts
from swarm.node.entry import MAX_REMEMBERED_DIALLED
from swarm.node.following import CATCH_UP_TRIES
from tests.simulation import SimPeer, Simulation, make_charter, peer_identity

UP_AFTER_S = 12.0
LATE = 40
"""Heard of so long ago that it is not among those dialled at the start."""


def address(number: int) -> Multiaddr:
    return Multiaddr(f"/ip4/127.0.0.1/tcp/{4000 + number}/p2p/{peer_identity(number).peer_id}")


class Wire:
    """Refuses everybody but `opens`, which answers from `UP_AFTER_S` on; doubles as the directory that is entered."""

    peer_id = peer_identity(1).peer_id

    def __init__(self, opens: int) -> None:
        self._opens = address(opens)
        self.entered: list[PeerId] = []
        self.at_once: list[int] = []

    async def connect(self, addresses: Sequence[Multiaddr]) -> None:
        if list(addresses) != [self._opens] or asyncio.get_running_loop().time() < UP_AFTER_S:
            raise StreamLostError("refused")

    async def enter(self, entry_points: Sequence[PeerId]) -> None:
        self.entered += entry_points


def contacts_of(wire: Wire, met: Sequence[int]) -> Contacts:
    ways = {peer_identity(number).peer_id: [address(number)] for number in met}
    parts: dict[str, Any] = {"transport": wire, "directory": wire, "engine": None, "sink": lambda event: None}
    book: Any = SimpleNamespace(ways=lambda: ways)
    return Contacts(**parts, book=book, joins=[address(99)])


class Alone(Simulation):
    """Peers beyond genesis start with nobody to ask, and a directory that has come apart from the others'."""

    contacts: Contacts

    async def arrive(self, number: int) -> SimPeer:
        self.directory = MemoryDirectory()
        peer = await self.start(number)
        assert peer.task is not None and peer.engine is not None
        peer.task.cancel()
        await peer.engine.start((), self.contacts.enter_anew)
        return peer


def test_any_peer_met_before_that_comes_up_while_it_waits_gives_the_state() -> None:
    async def scenario() -> None:
        sim = Alone(make_charter(1))
        await sim.start(0)
        await sim.until_round(1)
        wire = Wire(0)
        others = [*range(200, 200 + LATE), 0, *range(300, 323)]
        sim.contacts = contacts_of(wire, others)
        newcomer = await sim.arrive(1)
        assert wire.entered[:1] == [sim.peers[0].id], "the directory too is entered through it"
        assert newcomer.engine is not None and newcomer.engine.head.round >= 1
        assert UP_AFTER_S < asyncio.get_running_loop().time() < CATCH_UP_TRIES
        await sim.finish()

    run_virtual(scenario())


def test_with_nobody_there_at_all_the_wait_ends_in_a_sentence() -> None:
    async def scenario() -> None:
        sim = Alone(make_charter(1))
        sim.contacts = contacts_of(Wire(500), range(200, 200 + MAX_REMEMBERED_DIALLED))
        with pytest.raises(NetworkError):
            await sim.arrive(1)
        await sim.finish()

    run_virtual(scenario())
