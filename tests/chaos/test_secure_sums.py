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
from swarm.round.outcome import Offer
from swarm.round.seats import Guest
from swarm.round.secure.parts import MaskedParts
from swarm.round.secure.stage import Stage
from swarm.round.secure.standing import Standing
from swarm.round.secure.sums import SumsOf
from swarm.sovereignty.gate import Denied, Gate
from swarm.sovereignty.privacy import Receipt
from swarm.sovereignty.reasons import Reason
from swarm.vector.secure_codes import Words
from tests.simulation import SimPeer, Simulation, make_charter

PEERS, WIDE_PEERS = 6, 8
WIDE = pytest.mark.parametrize("across", [False, True], ids=["by region", "across regions"])


class Tag(msgspec.Struct):
    t: str


@dataclass
class Tap:
    """Sees every frame, judges those of secure sums, and kills a peer at its n-th frame of a kind."""

    sim: Simulation
    kind: str = ""
    source: PeerId | None = None
    nth: int = 1
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


def charter(across: bool, codec: str = "int8") -> Charter:
    rule = SecureSum(block_elements=64, initial_rms=0.1, across_regions=across)
    return make_charter(PEERS, aggregation=rule, min_contributors=3, codec=codec)


def wide_charter(across: bool) -> Charter:
    rule = SecureSum(block_elements=64, initial_rms=0.1, across_regions=across)
    return make_charter(WIDE_PEERS, elements=700, chunk_elements=192, aggregation=rule, min_contributors=3)


async def started(sim: Simulation, peers: int = PEERS) -> None:
    for number in range(peers):
        await sim.start(number, jurisdiction="DE" if number < peers // 2 else "JP")


@WIDE
def test_the_committed_mean_is_that_of_everybodys_codes_exactly(across: bool) -> None:
    """With a codec that loses nothing: mean of x - lost over the whole roster, in every chunk, in every round."""

    async def main() -> None:
        sim = Simulation(charter(across, "float32"), seed=3, rounds=3)
        sim.write_s = lambda: sim.random.uniform(0.0, 0.4)  # others' self-masks come before one's own is noted on disk
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


DEATHS = [
    ("OpenReduce", 1, False),
    ("Part", 2, True),
    ("KeptIs", 1, False),
    ("AllKeptIs", 1, True),
    ("SelfMaskIs", 1, False),
    ("SelfMaskIs", 2, True),
    ("ChunkResult", 2, False),
]
"""At which frame of its own a peer dies, which of them, and whether all mask together."""


@pytest.mark.parametrize(("kind", "nth", "across"), DEATHS)
def test_a_death_in_any_phase_costs_at_most_an_update(
    kind: str, nth: int, across: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The survivors end that sum with a code, train anew if they had revealed, and commit without the dead peer."""
    spent = watch_spending(monkeypatch)

    async def main() -> None:
        sim = Simulation(wide_charter(across), seed=5, rounds=3)  # four to a region: three that are left make a sum
        await started(sim, WIDE_PEERS)
        await sim.until_round(1)
        tap = Tap(sim, kind, sim.peers[1].id, nth)
        sim.network.on_frame = tap.on_frame
        survivors = [number for number in range(WIDE_PEERS) if number != 1]
        await sim.until_round(3, *survivors)
        assert tap.has_struck
        ended = [event for number in survivors for event in sim.peers[number].of(events.SecureSumEnded)]
        assert {event.code for event in ended} <= {"member_lost", "too_late", "incomplete"}
        for number in (2, 3):
            assert len(set(sim.decided(survivors[0], number).value.contributors)) == 1
        sim.check()
        await sim.finish()

    run_virtual(main())
    assert spent, "somebody revealed a self-mask"


def watch_spending(monkeypatch: pytest.MonkeyPatch) -> set[tuple[PeerId, bytes]]:
    """The updates whose self-mask went out, filled as a simulation runs; none of them may enter another sum."""
    spent: set[tuple[PeerId, bytes]] = set()
    stage, spend = SumsOf.stage, Standing.spend
    last: dict[Standing, tuple[PeerId, bytes]] = {}

    def watched(self: SumsOf, offer: Offer | None) -> Stage:
        if offer is not None:
            ctx = self.ctx
            update = (ctx.me, offer.x_N.tobytes())
            assert update not in spent, "a spent update in another sum"
            last[ctx.masks] = update
        return stage(self, offer)

    async def noted(self: Standing, round_number: int) -> None:
        await spend(self, round_number)  # a death before its end is one before the self-mask
        spent.add(last[self])

    monkeypatch.setattr(SumsOf, "stage", watched)
    monkeypatch.setattr(Standing, "spend", noted)
    return spent


@pytest.mark.parametrize("seed", [11, 12])
def test_peers_that_die_and_come_back_by_seed(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    watch_spending(monkeypatch)

    async def main() -> None:
        sim = Simulation(wide_charter(seed % 2 == 0), seed=seed, rounds=6)
        sim.write_s = lambda: sim.random.uniform(0.0, 0.3)
        await started(sim, WIDE_PEERS)
        for _ in range(3):
            await asyncio.sleep(sim.random.uniform(1.0, 6.0))
            number = sim.random.randrange(WIDE_PEERS)
            sim.kill(number)
            await asyncio.sleep(sim.random.uniform(2.0, 8.0))
            await sim.start(number, jurisdiction="DE" if number < WIDE_PEERS // 2 else "JP")
        await sim.until_round(6)
        sim.check()
        await sim.finish()

    run_virtual(main())


def test_a_wrong_mask_ends_the_sum_and_new_updates_make_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = watch_spending(monkeypatch)
    masked, liars = MaskedParts.masked, set[bytes]()

    async def main() -> None:
        sim = Simulation(charter(False), seed=13, rounds=2)

        def lying(self: MaskedParts, chunk: int) -> Words:
            found = masked(self, chunk)
            ctx = context(sim.peers[1])
            group = self.stage.circles.group
            is_liar = ctx.reduction is not None and ctx.reduction.delivery is self
            if is_liar and ctx.round == 2 and (not liars or group in liars):
                liars.add(group)
                return found + np.arange(found.size).astype(np.uint16) * np.uint16(977)
            return found

        monkeypatch.setattr(MaskedParts, "masked", lying)
        await started(sim)
        await sim.until_round(2)
        ended = [event for peer in sim.peers.values() for event in peer.of(events.SecureSumEnded)]
        assert "out_of_range" in {event.code for event in ended} and any(event.is_spent for event in ended)
        assert len(spent) >= 2 * PEERS + 3, "those who had revealed made other updates"
        sim.check()
        await sim.finish()

    run_virtual(main())


def test_what_a_gate_keeps_from_everybody_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spent privacy budget, say: the others sum without it in the first attempt, and the denial is on record."""

    def unpaid(self: Gate, receipt: Receipt | None) -> Denied | None:
        is_spent = self is context(sims[0].peers[1]).gate
        return Denied(Reason.PRIVACY_BUDGET_SPENT, "spent") if is_spent else None

    async def main() -> None:
        sim = Simulation(wide_charter(False), seed=29, rounds=3)
        sims.append(sim)
        await started(sim, WIDE_PEERS)
        await sim.until_round(3)
        kept = sim.peers[1]
        assert [(event.round, event.code) for event in kept.of(events.UpdateDenied)] == [
            (number, "privacy_budget_spent") for number in (1, 2, 3)
        ]
        for number in (1, 2, 3):
            decided = sim.decided(0, number)
            assert decided.roster.ballot.attempt == 1
            assert set(decided.value.contributors) == {
                decided.roster.bitmap(seat for seat, peer in enumerate(decided.roster.peers) if peer != kept.id)
            }
        assert not any(peer.of(events.SecureSumEnded) for peer in sim.peers.values())
        sim.check()
        await sim.finish()

    sims = list[Simulation]()
    monkeypatch.setattr(Gate, "_unpaid", unpaid)
    run_virtual(main())


def test_a_leader_that_signs_two_rosters_gets_no_self_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of its guests get a roster without one of the joins: no sum of either is ever opened."""

    async def main() -> None:
        sim = Simulation(wide_charter(True), seed=17, rounds=2)
        tell, lies = Guest.tell, list[int]()

        def equivocate(self: Guest, frame: wire.Frame) -> None:
            if isinstance(frame, wire.RosterClosed) and not lies_before(self) and int(self.peer[-1], 36) % 2:
                leader = next(peer for peer in sim.peers.values() if peer.id == frame.roster.author)
                honest = wire.unseal(frame.roster, wire.Roster)
                joins = tuple(join for join in honest.joins if join.author in (self.peer, frame.roster.author))
                rest = [join for join in honest.joins if join not in joins][1:]
                lies.append(honest.ballot.attempt)
                frame = wire.RosterClosed(
                    wire.seal(leader.identity, msgspec.structs.replace(honest, joins=(*joins, *rest)))
                )
            tell(self, frame)

        def lies_before(guest: Guest) -> bool:
            return guest.join.round != 1 or guest.join.ballot.attempt > 1

        monkeypatch.setattr(Guest, "tell", equivocate)
        await started(sim, WIDE_PEERS)
        tap = Tap(sim)
        sim.network.on_frame = tap.on_frame
        await sim.until_round(2)
        assert lies, "the leader of attempt 1 has lied"
        ended = [event for peer in sim.peers.values() for event in peer.of(events.SecureSumEnded)]
        assert ended and not any(event.is_spent for event in ended)
        assert all(len(groups) == 2 for groups in tap.revealed.values()), "one sum a round was opened, and no other"
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


@pytest.mark.parametrize("across", [False, True])
def test_a_region_in_which_nobody_can_be_dialled_keeps_its_updates(across: bool) -> None:
    """Nobody could sum its parts; the others go on."""

    async def main() -> None:
        sim = Simulation(charter(across), seed=7, rounds=2)
        for number in range(PEERS):
            is_home = number < PEERS // 2
            await sim.start(number, jurisdiction="DE" if is_home else "JP", dialable=is_home)
        await sim.until_round(2)
        decided = sim.decided(0, 2)
        givers = {decided.roster.peers[seat] for seat in decided.roster.contributors(decided.value.contributors[0])}
        assert givers == {sim.peers[number].id for number in range(PEERS // 2)}
        assert len(decided.roster.peers) == PEERS
        sim.check()
        await sim.finish()

    run_virtual(main())


def test_clipped_updates_come_with_the_next_ones() -> None:
    """Ranges far too small at first: they grow with the mean, and nothing is lost on the way (error feedback)."""

    async def main() -> None:
        low = SecureSum(block_elements=64, initial_rms=1e-4, floor_rms=1e-5, kappa=4.0)
        sim = Simulation(make_charter(PEERS, aggregation=low, min_contributors=3, codec="float32"), seed=9, rounds=4)
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
