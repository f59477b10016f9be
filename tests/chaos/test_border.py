"""What crosses a border, on captured frames: sums and results of enough members, few bytes, never a single part."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest

from swarm import events
from swarm.charter.manifest import Region
from swarm.identity.peer_id import PeerId
from swarm.net.memory import Link, run_virtual
from swarm.node import work as working
from swarm.round import plan as planning
from swarm.round.outcome import Offer
from swarm.round.reduction import Reduction
from swarm.state.records import Decided
from swarm.state.run import Run
from tests.simulation import Simulation, make_charter

CODES = ("DE", "JP", "US")
REGIONS = tuple(Region(name=code.lower(), jurisdictions=(code,)) for code in CODES)
ROUNDS = 4
CHUNK = 2048


class Tag(msgspec.Struct):
    t: str


class Sent(msgspec.Struct):
    data: bytes
    contributors: bytes = b""


@dataclass
class Border:
    """Every frame on a simulated network, and which of them left a region."""

    region_of: dict[str, str]
    frames: Counter[str] = field(default_factory=Counter[str])
    """Within regions and across, by kind."""
    crossed: Counter[str] = field(default_factory=Counter[str])
    """Across a border, by kind."""
    left: Counter[str] = field(default_factory=Counter[str])
    """Across a border, by kind and region."""
    chunk_bytes: Counter[str] = field(default_factory=Counter[str])
    """Encoded chunks that left each region, nothing around them counted."""
    frame_bytes: Counter[str] = field(default_factory=Counter[str])
    """The same with the frames they travelled in: chunk number, bitmap and field names."""
    smallest: int | None = None
    """Members in the smallest aggregate that crossed and was not empty."""

    def on_frame(self, source: str, target: str, frame: bytes) -> None:
        kind = msgspec.msgpack.decode(frame, type=Tag).t
        self.frames[kind] += 1
        if self.region_of[source] == self.region_of[target]:
            return
        self.crossed[kind] += 1
        self.left[f"{kind} from {self.region_of[source]}"] += 1
        if kind not in ("Part", "Sum", "ChunkResult"):
            return
        sent = msgspec.msgpack.decode(frame, type=Sent)
        self.chunk_bytes[self.region_of[source]] += len(sent.data)
        self.frame_bytes[self.region_of[source]] += len(frame)
        members = int.from_bytes(sent.contributors, "little").bit_count()
        if members:
            self.smallest = members if self.smallest is None else min(self.smallest, members)


async def watched(
    sizes: tuple[int, ...], *, min_contributors: int, chunks: int, codec: str = "int8"
) -> tuple[Simulation, Border]:
    """Regions of these sizes run a few rounds, and every frame is seen."""
    charter = make_charter(
        sum(sizes),
        elements=chunks * CHUNK,
        chunk_elements=CHUNK,
        codec=codec,
        min_contributors=min_contributors,
        regions=REGIONS[: len(sizes)],
    )
    sim = Simulation(charter, seed=4, rounds=ROUNDS)
    codes = [code for code, size in zip(CODES, sizes, strict=False) for _ in range(size)]
    border = Border({})
    for number, code in enumerate(codes):
        peer = sim.peers.setdefault(number, sim._machine(number))
        border.region_of[peer.id] = code
    sim.network.on_frame = border.on_frame
    for number, code in enumerate(codes):
        await sim.start(number, jurisdiction=code)
    return sim, border


@pytest.mark.parametrize("regions", [2, 3])
def test_bytes_over_the_border_grow_with_regions_and_not_with_peers(regions: int) -> None:
    """Each region sends its sums of all chunks but its own, and the results of its own to every other region."""

    async def main() -> None:
        sim, border = await watched((3,) * regions, min_contributors=3, chunks=18)
        await sim.until_round(ROUNDS)
        await sim.finish()
        sim.check()
        encoded = sum(sim.run_info.encoded_bytes(chunk) for chunk in range(18))
        ideal = 2 * (regions - 1) / regions * encoded * ROUNDS
        assert border.frames["Part"] == regions * 3 * 2 * 18 // 3 * ROUNDS
        assert border.crossed["Part"] == 0
        assert border.crossed["Sum"] == (regions - 1) * 18 * ROUNDS
        assert border.smallest == 3
        assert not any(peer.of(events.FrameRefused) for peer in sim.peers.values())
        for code in CODES[:regions]:
            assert border.chunk_bytes[code] <= 1.05 * ideal, border.chunk_bytes[code] / ideal
            assert border.frame_bytes[code] <= 1.08 * ideal, border.frame_bytes[code] / ideal

    run_virtual(main())


def test_a_region_of_too_few_members_sends_no_sum_and_keeps_its_updates() -> None:
    async def main() -> None:
        sim, border = await watched((3, 2), min_contributors=3, chunks=6)
        await sim.until_round(ROUNDS)
        await sim.finish()
        sim.check()
        assert border.crossed["Part"] == 0
        assert border.left["Sum from JP"] == 0
        assert border.smallest == 3
        for number in range(1, ROUNDS + 1):
            decided = sim.decided(0, number)
            roster = decided.roster
            large = {seat for seat in range(5) if roster.seats[seat].region == "de"}
            assert all(set(roster.contributors(bitmap)) == large for bitmap in decided.value.contributors)

    run_virtual(main())


def test_two_peers_of_one_member_are_one_member_at_the_border() -> None:
    """Three peers, and two of them are of one member: with three members asked for, nothing of that region crosses."""

    async def main() -> None:
        charter = make_charter(6, members=5, elements=6 * CHUNK, chunk_elements=CHUNK, min_contributors=3)
        sim = Simulation(charter, seed=4, rounds=ROUNDS)
        border = Border({})
        where = {0: "JP", 1: "DE", 2: "DE", 3: "DE", 4: "JP", 5: "JP"}  # peers 0 and 5 are both of member 0
        for number, code in where.items():
            border.region_of[sim._machine(number).id] = code
        sim.network.on_frame = border.on_frame
        for number, code in where.items():
            await sim.start(number, jurisdiction=code)
        await sim.until_round(ROUNDS)
        await sim.finish()
        sim.check()
        assert border.crossed["Part"] == border.left["Sum from JP"] == 0
        inside = {sim.peers[number].id for number in (1, 2, 3)}
        for event in sim.peers[1].of(events.RoundCommitted):
            assert set(event.contributors) == inside and event.crossed == "members"

    run_virtual(main())


@pytest.mark.parametrize(
    ("codes", "crossed"),
    [(("DE", "DE", "JP"), "single"), (("DE", "DE", "JP", "JP"), "few")],
)
def test_where_the_charter_lets_smaller_sums_cross_the_report_says_so(codes: tuple[str, ...], crossed: str) -> None:
    async def main() -> None:
        made = make_charter(len(codes), min_contributors=3)
        reduce = msgspec.structs.replace(made.reduce, single_update_may_cross=True)
        sim = Simulation(msgspec.structs.replace(made, reduce=reduce), seed=4, rounds=2)
        for number, code in enumerate(codes):
            await sim.start(number, jurisdiction=code)
        await sim.until_round(2)
        await sim.finish()
        sim.check()
        for event in sim.peers[0].of(events.RoundCommitted):
            assert len(event.contributors) == len(codes) and event.crossed == crossed

    run_virtual(main())


def test_what_a_small_region_could_not_send_waits_and_goes_when_it_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of a region wait for a third: the residual of each is then all it ever trained, and it is all sent."""
    left: dict[str, float] = {}
    """By peer: the norm of what it carries on after its last round."""
    honest = working.settle

    def settle(run: Run, me: PeerId, offer: Offer, decided: Decided, reduction: Reduction | None) -> None:
        x_N = offer.x_N.copy()
        honest(run, me, offer, decided, reduction)
        left[me] = float(np.linalg.norm(offer.lost_N))
        roster = decided.roster
        seat = roster.index[me]
        if not any(seat in roster.contributors(bitmap) for bitmap in decided.value.contributors):
            assert offer.lost_N.tobytes() == x_N.tobytes()

    monkeypatch.setattr(working, "settle", settle)

    async def main() -> None:
        sim, border = await watched((3, 2), min_contributors=3, chunks=6)
        sim.rounds = None
        await sim.until_round(3)
        small = [sim.peers[number].id for number in (3, 4)]
        waiting = [left[peer] for peer in small]
        assert min(waiting) > 20 * left[sim.peers[0].id]
        border.region_of[sim._machine(5).id] = "JP"
        third = await sim.start(5, jurisdiction="JP")
        async with asyncio.timeout(60):
            while not any(third.id in event.contributors for event in third.of(events.RoundCommitted)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        for peer, before in zip(small, waiting, strict=True):
            assert left[peer] < before / 10
        await sim.finish()
        sim.check()
        assert border.left["Sum from JP"] > 0 and border.smallest == 3

    run_virtual(main())


def test_cohorts_pass_on_sums_and_single_updates_stay_in_their_cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine peers of one region in three cohorts: two parts to each owner in a cohort, two sums to the root."""
    monkeypatch.setattr(planning, "MAX_GROUP_PEERS", 3)

    async def main() -> None:
        sim, border = await watched((9,), min_contributors=1, chunks=9)
        await sim.until_round(ROUNDS)
        await sim.finish()
        sim.check()
        assert border.frames["Part"] == 9 * 3 * 2 * ROUNDS
        assert border.frames["Sum"] == 9 * 2 * ROUNDS
        for number in range(1, ROUNDS + 1):
            decided = sim.decided(0, number)
            assert all(len(decided.roster.contributors(bitmap)) == 9 for bitmap in decided.value.contributors)

    run_virtual(main())


def test_no_chunk_is_sent_twice_on_one_lane_however_unevenly_frames_arrive() -> None:
    """A sum whose result comes back while later sums still wait for a part must not be asked for again."""

    async def main() -> None:
        charter = make_charter(4, chunk_elements=150)
        sim = Simulation(charter, seed=1, rounds=6, link=Link(min_latency_s=0.001, max_latency_s=0.3))
        for number in range(4):
            await sim.start(number, jurisdiction="JP" if number == 3 else "DE")
        await sim.until_round(6)
        await sim.finish()
        sim.check()
        assert not any(peer.of(events.FrameRefused) for peer in sim.peers.values())

    run_virtual(main())
