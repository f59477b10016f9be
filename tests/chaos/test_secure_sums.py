"""Secure sums in a simulated swarm: exact, equal everywhere, and safe whoever dies in whichever phase.

A tap on the wire sees every frame. It demands, whatever happens to the network: no self-mask before all givers of its
sum have given their word, one sum for every self-mask, and parts that tell nothing of the update they hide.
"""

import asyncio
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest

from swarm import events
from swarm.charter.manifest import Charter, SecureSum
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.memory import run_virtual
from swarm.round.context import Context
from swarm.round.delivery import Contribution
from tests.simulation import SimPeer, Simulation, make_charter

PEERS = 6
WIDE = pytest.mark.parametrize("across", [False, True], ids=["by region", "across regions"])
STATEMENTS = wire.Part | wire.Sum | wire.KeptIs | wire.AllKeptIs | wire.SelfMaskIs | wire.ChunkResult


class Tag(msgspec.Struct):
    t: str


@dataclass
class Tap:
    """Sees every frame, judges those of secure sums, and does `strike` at the n-th frame of a kind by one peer."""

    sim: Simulation
    kind: str = ""
    source: PeerId | None = None
    nth: int = 1
    then: object = None
    words: dict[bytes, set[PeerId]] = field(default_factory=dict[bytes, set[PeerId]])
    revealed: dict[PeerId, list[bytes]] = field(default_factory=dict[PeerId, list[bytes]])
    parts: list[tuple[PeerId, wire.Part]] = field(default_factory=list[tuple[PeerId, wire.Part]])
    has_struck: bool = False

    def on_frame(self, source: PeerId, target: PeerId, frame: bytes) -> None:
        kind = msgspec.msgpack.decode(frame, type=Tag).t
        if kind == "AllKeptIs":
            sealed = wire.decode(frame, wire.AllKeptIs).statement
            self.words.setdefault(wire.unseal(sealed, wire.AllKept).group, set()).add(sealed.author)
        elif kind == "SelfMaskIs":
            sealed = wire.decode(frame, wire.SelfMaskIs).statement
            group = wire.unseal(sealed, wire.SelfMask).group
            assert self.words[group] == self.givers_of(source, group), "a self-mask before everybody's word"
            if group not in self.revealed.setdefault(sealed.author, []):
                self.revealed[sealed.author].append(group)
        elif kind == "Part":
            self.parts.append((source, wire.decode(bytes(frame), wire.Part)))
        if kind == self.kind and source == self.source and not self.has_struck:
            self.nth -= 1
            if self.nth <= 0:
                self.has_struck = True
                self.sim.kill(next(peer.number for peer in self.sim.peers.values() if peer.id == source))

    def givers_of(self, source: PeerId, group: bytes) -> set[PeerId]:
        peer = next(peer for peer in self.sim.peers.values() if peer.id == source)
        reduction = context(peer).reduction
        assert reduction is not None and reduction.secure is not None and reduction.secure.circles.group == group
        return {reduction.roster.peers[seat] for seat in reduction.secure.circles.givers}


def context(peer: SimPeer) -> Context:
    assert peer.engine is not None and peer.engine.ctx is not None
    return peer.engine.ctx


def charter(across: bool, codec: str = "int8", **changed: float) -> Charter:
    rule = SecureSum(block_elements=64, initial_rms=0.1, across_regions=across, **changed)
    return make_charter(PEERS, aggregation=rule, min_contributors=3, codec=codec)


async def started(sim: Simulation, peers: int = PEERS) -> None:
    for number in range(peers):
        await sim.start(number, jurisdiction="DE" if number < peers // 2 else "JP")


@WIDE
def test_the_committed_mean_is_that_of_everybodys_codes_exactly(across: bool) -> None:
    """With a codec that loses nothing: mean of x - lost over the whole roster, in every chunk, in every round."""

    async def main() -> None:
        sim = Simulation(charter(across, "float32"), seed=3, rounds=3)
        given: dict[tuple[int, int], np.ndarray] = {}

        def watch(peer: SimPeer, event: events.AnyEvent) -> None:
            if isinstance(event, events.Reduced):
                reduction = context(peer).reduction
                assert reduction is not None and isinstance(reduction.delivery.contribution, Contribution)
                made = reduction.delivery.contribution
                given[event.round, peer.number] = made.x_N.astype(np.float64) - made.lost_N

        await started(sim)
        for peer in sim.peers.values():
            peer.show = lambda event, peer=peer: watch(peer, event)
        tap = Tap(sim)
        sim.network.on_frame = tap.on_frame
        await sim.until_round(3)
        run = sim.run_info
        for round_number in (1, 2, 3):
            decided = sim.decided(0, round_number)
            assert set(decided.value.contributors) == {decided.roster.bitmap(range(PEERS))}
            results = sim.peers[0].disk.results[decided.digest]
            mean_N = np.concatenate([run.codec.decode(data, len(data) // 4) for data in results])
            expected_N = np.mean([given[round_number, number] for number in range(PEERS)], axis=0)
            np.testing.assert_allclose(mean_N, expected_N, atol=2e-6)
        assert all(len(groups) == 3 for groups in tap.revealed.values()) and len(tap.revealed) == PEERS
        sizes = {len(part.data) for _, part in tap.parts}
        assert sizes == {2 * run.grid.length(0), 2 * run.grid.length(run.grid.chunks - 1)}, "16 bits per element"
        words = np.concatenate([np.frombuffer(part.data, "<u2") for _, part in tap.parts if len(part.data) == 1024])
        assert abs(words.mean() - 32767.5) < 400, "parts look uniform"
        sim.check()
        await sim.finish()

    run_virtual(main())


KINDS = {"OpenReduce": 1, "Part": 2, "KeptIs": 1, "AllKeptIs": 1, "SelfMaskIs": 1, "ChunkResult": 2}


@WIDE
@pytest.mark.parametrize("kind", KINDS)
def test_a_death_in_any_phase_costs_at_most_an_update(kind: str, across: bool) -> None:
    """The survivors end that sum with a code, train anew if they had revealed, and commit without the dead peer."""

    async def main() -> None:
        # Four to a region: the three that are left still make a sum.
        peers = 8
        sim = Simulation(
            make_charter(
                peers,
                aggregation=SecureSum(block_elements=64, initial_rms=0.1, across_regions=across),
                min_contributors=3,
            ),
            seed=5,
            rounds=4,
        )
        await started(sim, peers)
        await sim.until_round(1)
        victim = sim.peers[1]
        tap = Tap(sim, kind, victim.id, KINDS[kind])
        sim.network.on_frame = tap.on_frame
        survivors = [number for number in range(peers) if number != 1]
        await sim.until_round(4, *survivors)
        assert tap.has_struck
        for number in survivors:
            for ended in sim.peers[number].of(events.SecureSumEnded):
                assert ended.code in ("member_lost", "too_late", "incomplete"), ended
        committed = [sim.decided(survivors[0], number) for number in (2, 3, 4)]
        for decided in committed:
            assert len(set(decided.value.contributors)) == 1
        # Whoever revealed itself in a sum that was not committed had no part of that update in any other one.
        for number in survivors:
            peer = sim.peers[number]
            for ended in peer.of(events.SecureSumEnded):
                if ended.is_spent:
                    anew = [e for e in peer.of(events.AttemptStarted) if e.round == ended.round]
                    assert anew, "it went on"
        sim.check()
        await sim.finish()

    run_virtual(main())


def test_a_region_with_too_few_members_gives_nothing_and_the_others_go_on() -> None:
    async def main() -> None:
        sim = Simulation(charter(False), seed=7, rounds=2)
        for number in range(PEERS):
            await sim.start(number, jurisdiction="DE" if number < 4 else "JP")
        tap = Tap(sim)
        sim.network.on_frame = tap.on_frame
        await sim.until_round(2)
        decided = sim.decided(0, 2)
        givers = {decided.roster.peers[seat] for seat in decided.roster.contributors(decided.value.contributors[0])}
        assert givers == {sim.peers[number].id for number in range(4)}
        lonely = {sim.peers[4].id, sim.peers[5].id}
        assert not lonely & {source for source, _ in tap.parts} and not lonely & tap.revealed.keys()
        assert {event.code for event in sim.peers[4].of(events.UpdateDenied)} == {"not_masked"}
        sim.check()
        await sim.finish()

    run_virtual(main())


def test_with_fewer_than_three_members_there_is_no_round_and_a_sentence() -> None:
    async def main() -> None:
        sim = Simulation(charter(True), seed=7, rounds=1)
        for number in range(4):  # four peers of two members
            await sim.start(number)
        members = {0: 0, 1: 0, 2: 1, 3: 1}
        assert members
        await asyncio.sleep(0)
        sim.kill(2)
        sim.kill(3)
        await asyncio.sleep(40)
        assert all(sim.committed(number) == 0 for number in (0, 1))
        await sim.finish()

    run_virtual(main())


def test_clipped_updates_come_with_the_next_ones() -> None:
    """Ranges far too small at first: they grow with the mean, and nothing is lost on the way (error feedback)."""

    async def main() -> None:
        sim = Simulation(charter(False, "float32", floor_rms=1e-5, kappa=4.0), seed=9, rounds=4)
        low = msgspec.structs.replace(
            sim.charter, aggregation=SecureSum(block_elements=64, initial_rms=1e-4, floor_rms=1e-5, kappa=4.0)
        )
        sim = Simulation(low, seed=9, rounds=4)
        await started(sim)
        await sim.until_round(4)
        means = []
        for number in (1, 4):
            decided = sim.decided(0, number)
            results = sim.peers[0].disk.results[decided.digest]
            means.append(np.concatenate([sim.run_info.codec.decode(data, len(data) // 4) for data in results]))
        assert np.abs(means[0]).max() <= 4e-4 * 1.01
        assert np.abs(means[1]).max() > 4e-4 * 10
        sim.check()
        await sim.finish()

    run_virtual(main())
