"""A large swarm in one process: real engines, signatures and frames; disks and event logs that stay small.

`tests.simulation` is made for tests that look at everything afterwards, this for a thousand peers over many rounds.
What many machines compute from the same bytes is computed once here (`shared.py`); what they keep on disk is kept once
for all of them, and their events are counted, not kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from swarm import events
from swarm.charter.manifest import Charter, Region
from swarm.net.memory import Link
from swarm.state.store import MemoryStore
from tests.chaos.disk import Disk, Mount
from tests.simulation import SimPeer, Simulation, make_charter, peer_identity

REGIONS = (
    Region(name="africa", jurisdictions=("KE",)),
    Region(name="americas", jurisdictions=("BR",)),
    Region(name="asia", jurisdictions=("JP",)),
    Region(name="europe", jurisdictions=("DE",)),
)
JURISDICTIONS = tuple(region.jurisdictions[0] for region in REGIONS)
WAN = Link(min_latency_s=0.005, max_latency_s=0.075, bytes_per_s=12.5e6, window_bytes=64 * 1024 * 1024)
"""10 to 150 ms round trips, 100 Mbit/s per stream; what a machine's streams share is not modelled."""
MEMBERS = 12


def scale_charter(peers: int, regions: int) -> Charter:
    """Four chunks of int8 codes, up to four regions, aggregates of at least three members across a border."""
    return make_charter(
        peers,
        members=MEMBERS,
        elements=256,
        chunk_elements=64,
        min_contributors=3 if regions > 1 else 1,
        regions=REGIONS[:regions],
    )


@dataclass
class Pool:
    """One copy of each run of bytes that several machines hold."""

    kept: list[bytes] = field(default_factory=list[bytes])

    def one(self, data: bytes) -> bytes:
        for known in self.kept:
            if known == data:
                return known
        self.kept = [data, *self.kept[:15]]
        return data


class SharedStore(MemoryStore):
    """A disk whose records and votes are, byte for byte, the ones that other disks hold."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool

    async def save_acceptor(self, data: bytes) -> None:
        await super().save_acceptor(self._pool.one(data))

    async def save_record(self, round_number: int, data: bytes) -> None:
        await super().save_record(round_number, self._pool.one(data))


class LightMount(Mount):
    """A process's handle on its disk that keeps no journal of votes and results."""

    async def save_acceptor(self, data: bytes) -> None:
        await self._before()
        await self._disk.files.save_acceptor(data)
        self._after()

    async def save_results(self, round_number: int, digest: bytes, results: Sequence[bytes]) -> None:
        await self._before()
        await self._disk.files.save_results(round_number, digest, results)
        self._after()


@dataclass
class CountedPeer(SimPeer):
    """A machine whose events go to `watch` and are forgotten."""

    watch: Callable[["CountedPeer", events.AnyEvent], None] = lambda peer, event: None

    def see(self, event: events.AnyEvent) -> None:
        self.watch(self, event)


class ScaleSwarm(Simulation):
    """A simulation of many peers; `watch` hears every event of every peer."""

    def __init__(self, charter: Charter, *, seed: int, watch: Callable[[CountedPeer, events.AnyEvent], None]) -> None:
        super().__init__(charter, seed=seed, link=WAN)
        self.watch = watch
        self.may_give_up = True
        self._pool = Pool()

    def _machine(self, number: int) -> SimPeer:
        if number not in self.peers:
            disk = Disk(files=SharedStore(self._pool))
            self.peers[number] = CountedPeer(number, peer_identity(number), disk, watch=self.watch)
        return self.peers[number]

    def _mount(self, peer: SimPeer) -> Mount:
        peer.mount = LightMount(peer.disk, lambda: 0.005, lambda: None)
        return peer.mount

    async def begin(self, number: int) -> None:
        """Starts a machine, for the first time or again, in the region that its number says."""
        jurisdiction = JURISDICTIONS[(number // MEMBERS) % len(self.charter.regions)]
        await self.start(number, jurisdiction=jurisdiction)

    def forget(self, number: int) -> None:
        """A machine that is gone for good."""
        del self.peers[number]
