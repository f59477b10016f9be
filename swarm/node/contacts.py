"""Finds a peer company, and keeps it in company: dials those it hears of, remembers them, enters the directory anew.

No peer is necessary for that, the bootstrap node included: whoever is missing in the directory is dialled again and
again, those typed after --join, those that vote and those the address book remembers alike.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import TYPE_CHECKING, NoReturn

from multiaddr import Multiaddr

from swarm import events
from swarm.errors import TapestryError
from swarm.identity.peer_id import PeerId
from swarm.net.addresses import parse_join_address, peer_of
from swarm.net.transport import StreamLostError
from swarm.node.address_book import AddressBook
from swarm.node.engine import Engine
from swarm.node.entry import by_peer, connects, in_turn
from swarm.state.electorate import few_of

if TYPE_CHECKING:
    from swarm.net.kademlia import KademliaDirectory
    from swarm.net.libp2p import LibP2PTransport

_CONNECT_EVERY_S = 1.0
_ENTER_EVERY_S = 5.0
_REMEMBERED_AT_ONCE = 4
"""Peers met before that are missing now and are dialled in one go, others each time."""


class Contacts:
    """What runs beside an engine for that; `works` are its tasks."""

    def __init__(
        self,
        *,
        transport: "LibP2PTransport",
        directory: "KademliaDirectory",
        engine: Engine,
        book: AddressBook,
        joins: Sequence[Multiaddr],
        sink: Callable[[events.AnyEvent], None],
    ) -> None:
        self._transport = transport
        self._directory = directory
        self._engine = engine
        self._book = book
        self._joins = joins
        self._sink = sink

    async def keep_connected(self) -> NoReturn:
        """Dials peers as the directory shows them, so that this peer needs the bootstrap node no longer."""
        dialled: set[tuple[PeerId, tuple[str, ...]]] = set()
        while True:
            announced = {(peer, entry.addresses) for peer, entry in self._engine.announced().items()}
            dialled &= announced  # who has left and comes again is dialled again
            for peer, addresses in sorted(announced - dialled):
                if peer != self._transport.peer_id and addresses:
                    await self._dial(peer, addresses)
            dialled |= announced
            await self._book.save()
            await asyncio.sleep(_CONNECT_EVERY_S)

    async def keep_entered(self) -> NoReturn:
        """Enters the directory anew through those missing in it: it may have split while an entry point was dead."""
        kept = 0
        for number in count():
            await asyncio.sleep(_ENTER_EVERY_S)
            ways = self._book.ways()
            known = {self._transport.peer_id, *self._engine.announced()}
            met = few_of([peer for peer in ways if peer not in known], _REMEMBERED_AT_ONCE, f"{number}")
            await asyncio.gather(
                *(connects(self._transport, [address]) for address in self._joins),
                *(connects(self._transport, ways[peer]) for peer in met),
            )
            await self._directory.enter([peer for peer in self._entry_points(met) if peer not in known])
            if self._directory.records != kept:
                kept = self._directory.records
                self._sink(events.DirectoryKept(records=kept))
        raise AssertionError("counting has no end")

    async def enter_anew(self, attempt: int) -> list[PeerId]:
        """Before this peer takes part: enters through whoever answers, and says who that is.

        Dialled are those typed after --join and a few of the peers met before, each of whom gets a turn.
        """
        ways = {**in_turn(self._book.ways(), attempt), **by_peer(self._joins)}
        answers = await asyncio.gather(*(connects(self._transport, addresses) for addresses in ways.values()))
        reached = [peer for peer, has_answered in zip(ways, answers, strict=True) if has_answered]
        await self._directory.enter(reached)
        return reached

    def everybody(self) -> list[PeerId]:
        """All that this peer could ask something."""
        return sorted({*self._entry_points(()), *self._engine.announced()})

    def dialable(self) -> list[PeerId]:
        """Whom this peer may ask to dial it back: those typed after --join, and those that say they can be dialled."""
        announced = self._engine.announced().items()
        return [*map(peer_of, self._joins), *(peer for peer, entry in announced if entry.dialable and entry.addresses)]

    def _entry_points(self, met: Iterable[PeerId]) -> set[PeerId]:
        ctx = self._engine.ctx
        voters = () if ctx is None else ctx.electorate.peers
        return {*map(peer_of, self._joins), *voters, *met}

    async def _dial(self, peer: PeerId, addresses: Sequence[str]) -> None:
        try:
            parsed = [parse_join_address(text) for text in addresses]
            if all(peer_of(address) == peer for address in parsed):
                await self._transport.connect(parsed)
        except (TapestryError, StreamLostError) as error:
            self._sink(events.Note(text=f"{peer} announces addresses that do not work: {error}"))
