"""One peer of a state bench: a donor with a state of random numbers, or the newcomer that comes to it.

A donor is a whole engine, which also averages vectors when it is told to, as in the other benches. The newcomer's
`round` is what `Engine.start` does to come to the swarm's head: `CatchUp` from nothing, with a real disk.
"""

from pathlib import Path

import msgspec
import numpy as np
import torch

from benchmarks import sample
from benchmarks.lying_transport import LyingTransport
from benchmarks.tapestry_peer import Card, Footing, Peer, bench_charter, meet
from benchmarks.tapestry_worker import TapestryWorker
from benchmarks.volatile_store import VolatileStore
from benchmarks.worker import JoinFigures, RoundFigures, Seat, Worker
from swarm import events
from swarm.charter import passport as passports
from swarm.charter.manifest import Charter
from swarm.clock import monotonic_s, unix_s
from swarm.net import wire
from swarm.net.audited import AuditedTransport
from swarm.net.calls import Caller
from swarm.node.heap import keep_freed_chunks
from swarm.sovereignty.ledger import Ledger
from swarm.state.catchup import CatchUp
from swarm.state.partial import Partials
from swarm.state.store import DiskStore
from swarm.vector.digest import state_digest
from swarm.vector.grid import Grid


class StateWorker:
    """Either of the two, by its site's duty."""

    def __init__(self) -> None:
        self._donor = TapestryWorker()
        self._newcomer: Newcomer | None = None

    async def prepare(self, seat: Seat) -> None:
        torch.set_num_threads(1)
        keep_freed_chunks()
        footing = await meet(seat, _charter)
        if seat.site.duty == "joins":
            self._newcomer = Newcomer(footing, seat.rendezvous.folder / "newcomer")
            return
        store = VolatileStore()
        await store.save_snapshot(0, (_base(seat.vector.numel()),))
        transport = LyingTransport(footing.transport) if seat.site.duty == "lies" else footing.transport
        ledger = Ledger(None, unix_s)
        engine = footing.engine(store, self._donor.watch, transport, ledger)
        await engine.start([peer for peer in footing.peers if peer in footing.run.charter.genesis.peers])
        await self._donor.begin(seat, Peer(footing, engine, store, ledger))

    async def round(self) -> RoundFigures | JoinFigures:
        return await (self._donor.round() if self._newcomer is None else self._newcomer.join())

    async def collect(self) -> None:
        if self._newcomer is None:
            await self._donor.collect()

    async def close(self) -> None:
        await (self._donor.close() if self._newcomer is None else self._newcomer.leave())


class Newcomer:
    """A peer without a state."""

    def __init__(self, footing: Footing, folder: Path) -> None:
        self._footing = footing
        self._folder = folder
        self._complete_s = 0.0

    async def join(self) -> JoinFigures:
        """Comes to the state once."""
        footing, run = self._footing, self._footing.run
        hello = wire.Hello(run.id, passports.encode(footing.passport))
        transport = AuditedTransport(footing.transport, Ledger(None, unix_s), footing.gate().standing)
        catching = CatchUp(
            run,
            DiskStore(self._folder),
            Caller(transport, hello),
            footing.peers,
            Partials(run, self._folder / "download", lambda _: None),
            self._watch,
        )
        began_s = monotonic_s()
        caught = await catching.run(None)
        ready_s = monotonic_s()
        head = caught.head
        right_N = _base(run.grid.elements)
        return JoinFigures(
            download_s=self._complete_s - began_s,
            ready_s=ready_s - began_s,
            state_bytes=4 * run.grid.elements * (1 + run.rule.vectors),
            received_bytes=caught.bytes_received,
            is_right=head.round > 0 or bool(np.array_equal(head.base_N.view(np.uint32), right_N.view(np.uint32))),
        )

    async def leave(self) -> None:
        await self._footing.leave()

    def _watch(self, event: events.AnyEvent) -> None:
        if isinstance(event, events.StateProgress) and event.pieces == event.pieces_total:
            self._complete_s = self._complete_s or monotonic_s()


def _base(elements: int) -> np.ndarray:
    """State 0, float32 [N]: the same for everybody, and no two pieces of it alike."""
    base_N = torch.empty(elements)
    sample.fill(base_N, round_index=0, rank=0)
    return base_N.numpy()


def _charter(seat: Seat, cards: list[Card], now_s: int) -> Charter:
    """The benches' charter, with that state."""
    charter = bench_charter(seat, cards, now_s)
    grid = Grid(charter.model.parameters, charter.reduce.chunk_elements)
    digest = state_digest(grid, _base(grid.elements), ()).hex()
    return msgspec.structs.replace(charter, model=msgspec.structs.replace(charter.model, state_digest=digest))


def make_worker() -> Worker:
    return StateWorker()
