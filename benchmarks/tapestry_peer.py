"""One peer of our own engine as a bench needs it: keys, charter, libp2p daemon, DHT, admission, then `Engine`.

Everything is what a real peer has, but for three things: keys and charter are made for this one run, the store has no
disk (`volatile_store.py`), and the ledger keeps totals only, so that no line is written and no frame is hashed for it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, cast

import msgspec
import numpy as np
from multiaddr import Multiaddr

from benchmarks.allreduce import SECURE
from benchmarks.volatile_store import VolatileStore
from benchmarks.worker import Seat
from swarm import events
from swarm.charter import files
from swarm.charter.manifest import (
    BLOCK_ELEMENTS,
    CROSSING_MEMBERS,
    Charter,
    Codec,
    Deadlines,
    Founders,
    Genesis,
    Mean,
    Member,
    Model,
    Nesterov,
    Reduce,
    Region,
    SecureSum,
)
from swarm.charter.manifest import Run as RunTable
from swarm.charter.passport import SignedPassport, issue
from swarm.charter.signing import SignedCharter, sign_charter, verify_charter
from swarm.clock import unix_s
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net.daemon import Daemon
from swarm.net.kademlia import KademliaDirectory
from swarm.net.libp2p import LibP2PTransport
from swarm.net.transport import StreamLostError, Transport
from swarm.node.announcements import read_announcement
from swarm.node.engine import Engine
from swarm.sovereignty.gate import Gate
from swarm.sovereignty.labels import Label
from swarm.sovereignty.ledger import Ledger
from swarm.state.run import Run
from swarm.state.store import Store
from swarm.vector.digest import state_digest
from swarm.vector.grid import Grid

_LIFETIME_S = 7 * 24 * 3600
_DEADLINES = Deadlines(floor_s=30.0, ceiling_s=120.0)
"""Longer than the charter's defaults: on a machine with too few cores a slow peer is no lost peer."""
_DIALS = 5
_DIAL_PAUSE_S = 3.0
_NO_MODEL = "0" * 64


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What one peer tells the others before there is a charter."""

    peer: PeerId
    member: PeerId
    jurisdiction: str
    addresses: tuple[str, ...]
    is_late: bool
    """Not of the first hour."""


@dataclass(frozen=True, kw_only=True)
class Footing:
    """What an engine stands on: the network it is connected to, the run, and who it is in it."""

    daemon: Daemon
    transport: LibP2PTransport
    directory: KademliaDirectory
    identity: Identity
    run: Run
    charter_bytes: bytes
    passport: SignedPassport
    addresses: tuple[str, ...]
    peers: tuple[PeerId, ...]
    """Every peer of the bench in the order of ranks."""
    abroad: frozenset[PeerId]
    """Those of another jurisdiction."""

    def engine(
        self, store: Store, sink: Callable[[events.AnyEvent], None], transport: Transport, ledger: Ledger | None = None
    ) -> Engine:
        """A real peer's engine, not started; `transport` is this footing's own, or one around it."""
        return Engine(
            run=self.run,
            identity=self.identity,
            passport=self.passport,
            charter_bytes=self.charter_bytes,
            transport=transport,
            directory=self.directory,
            ledger=ledger or Ledger(None, unix_s),
            gate=self.gate(),
            store=store,
            sink=sink,
            wall_clock=unix_s,
            addresses=self.addresses,
        )

    def gate(self) -> Gate:
        """The gate of a peer whose data is open."""
        return Gate(
            region=self.passport.payload.region,
            label=Label.OPEN,
            min_contributors=self.run.least_members,
        )

    async def leave(self) -> None:
        """Closes everything under the engine."""
        await self.directory.close()
        await self.transport.close()
        self.daemon.stop()


async def meet(seat: Seat, make_charter: Callable[[Seat, "list[Card]", int], Charter]) -> Footing:
    """Meets the others in the rendezvous folder: connected to all of them, with one charter for all."""
    identity, member = Identity.generate(), Identity.generate()
    key = seat.rendezvous.folder / f"key-{seat.rank}"
    identity.save(key)
    listen = Multiaddr(f"/ip4/{seat.site.listen}/tcp/0")
    daemon = await Daemon.start(identity=key, listen=[listen], say=lambda _: None)
    transport = await LibP2PTransport.attach(daemon.control, [listen], lambda _: None)
    addresses = tuple(str(address) for address in await transport.addresses())
    card = Card(
        peer=identity.peer_id,
        member=member.peer_id,
        jurisdiction=seat.site.jurisdiction,
        addresses=addresses,
        is_late=seat.site.duty == "joins",
    )
    cards = await _exchange(seat, card)
    signed = await _agree(seat, cards, member, make_charter)
    charter = verify_charter(signed)
    run = Run(charter)
    for card in cards[: seat.rank]:  # each pair dials once
        await _connect(transport, card)
    await _all_connected(seat)
    directory = await KademliaDirectory.create(
        transport.p2p, run.id, lambda peer, sealed: _is_by(peer, sealed, run), [c.peer for c in cards[: seat.rank]]
    )
    return Footing(
        daemon=daemon,
        transport=transport,
        directory=directory,
        identity=identity,
        run=run,
        charter_bytes=files.encode_toml(signed).encode(),
        passport=issue(member, charter, identity.peer_id, seat.site.jurisdiction, unix_s() + _LIFETIME_S, unix_s()),
        addresses=addresses,
        peers=tuple(card.peer for card in cards),
        abroad=frozenset(card.peer for card in cards if card.jurisdiction != seat.site.jurisdiction),
    )


class Peer:
    """A started engine with all that runs under it."""

    def __init__(self, footing: Footing, engine: Engine, store: VolatileStore, ledger: Ledger) -> None:
        self._footing = footing
        self._ledger = ledger
        self._abroad_bytes = 0
        self._store = store
        self.engine = engine

    @classmethod
    async def start(cls, seat: Seat, sink: Callable[[events.AnyEvent], None]) -> Self:
        """Meets the others and returns once this peer stands on state 0."""
        footing = await meet(seat, bench_charter)
        store = VolatileStore()
        await store.save_snapshot(0, (np.zeros(footing.run.grid.elements, np.float32),))
        ledger = Ledger(None, unix_s)
        engine = footing.engine(store, sink, footing.transport, ledger)
        await engine.start(footing.peers)
        return cls(footing, engine, store, ledger)

    def begin_round(self) -> None:
        """Forgets what a peer would have on disk only, and counts from here."""
        self._store.forget_results()
        self.take_closed_bytes()
        self.take_abroad_bytes()

    def take_closed_bytes(self) -> int:
        """Bytes sent since the round began on lanes that are closed by now."""
        return self._footing.transport.lanes.meter.take_closed_bytes()

    def take_abroad_bytes(self) -> int:
        """Bytes of the frames given to peers of other jurisdictions since the last call."""
        before, self._abroad_bytes = self._abroad_bytes, sum(self._ledger.sent_to[p] for p in self._footing.abroad)
        return self._abroad_bytes - before

    async def stop(self) -> None:
        """Leaves and ends the daemon."""
        await self.engine.leave()
        await self._footing.leave()


async def _exchange(seat: Seat, mine: Card) -> list[Card]:
    """Every peer's card, in the order of ranks."""
    seat.rendezvous.publish(f"card-{seat.rank}", msgspec.json.encode(mine).decode())
    return [msgspec.json.decode(await seat.rendezvous.read(f"card-{rank}"), type=Card) for rank in range(seat.world)]


async def _connect(transport: LibP2PTransport, card: Card) -> None:
    """Dials a peer; two that dial each other at one moment may both fail, and libp2p then waits before it redials."""
    for _ in range(_DIALS - 1):
        try:
            await transport.connect([Multiaddr(address) for address in card.addresses])
            return
        except StreamLostError:
            await asyncio.sleep(_DIAL_PAUSE_S)
    await transport.connect([Multiaddr(address) for address in card.addresses])


async def _all_connected(seat: Seat) -> None:
    """Waits for every peer's dials: a directory that dials back meanwhile makes libp2p back off from both."""
    seat.rendezvous.publish(f"connected-{seat.rank}", "")
    for rank in range(seat.world):
        await seat.rendezvous.read(f"connected-{rank}")


async def _agree(
    seat: Seat, cards: list[Card], founder: Identity, make_charter: Callable[[Seat, list[Card], int], Charter]
) -> SignedCharter:
    """The charter that rank 0 makes and signs for everybody."""
    if seat.rank == 0:
        signed = sign_charter(SignedCharter(charter=make_charter(seat, cards, int(unix_s()))), founder)
        seat.rendezvous.publish("charter", files.encode_toml(signed))
    return files.decode_toml(await seat.rendezvous.read("charter"))


def bench_charter(seat: Seat, cards: list[Card], now_s: int) -> Charter:
    """Who is there from the first hour in genesis, a region per jurisdiction, a member each.

    The new base is the old one minus the mean.
    """
    elements = seat.vector.numel()
    is_secure = seat.codec == SECURE
    codec = "int8" if is_secure else cast(Codec, seat.codec)
    reduce = Reduce(
        codec=codec,
        block_elements=BLOCK_ELEMENTS.get(codec, Reduce().block_elements),
        levels=seat.site.levels,
        min_contributors=seat.site.min_contributors,
        single_update_may_cross=seat.site.min_contributors < CROSSING_MEMBERS,
    )
    zeros_N = np.zeros(elements, np.float32)
    zero_digest = state_digest(Grid(elements, reduce.chunk_elements), zeros_N, ()).hex()
    return Charter(
        run=RunTable(name="bench", created=now_s, expires=now_s + _LIFETIME_S),
        model=Model(parameters=elements, schema_digest=_NO_MODEL, state_digest=zero_digest),
        outer=Nesterov(lr=1.0, momentum=0.0),
        reduce=reduce,
        # What a bench averages has a root mean square of 1.
        aggregation=SecureSum(initial_rms=1.0) if is_secure else Mean(),
        deadlines=_DEADLINES,
        regions=tuple(
            Region(name=code.lower(), jurisdictions=(code,)) for code in sorted({card.jurisdiction for card in cards})
        ),
        members=tuple(Member(name=f"member {rank}", key=card.member) for rank, card in enumerate(cards)),
        founders=Founders(keys=(cards[0].member,), threshold=1),
        genesis=Genesis(peers=tuple(card.peer for card in cards if not card.is_late)),
    )


def _is_by(peer: PeerId, sealed: bytes, run: Run) -> bool:
    entry = read_announcement(sealed, run, unix_s())
    return entry is not None and entry.peer == peer
