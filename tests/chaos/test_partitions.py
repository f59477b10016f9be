"""Partitions under either quorum kind, in virtual time: who goes on, who pauses, and what is left when they heal.

`majority`   no round number ever has two committed results, whatever the schedule; who was cut off comes back
`available`  every side goes on; afterwards the chain with more weight is everybody's, and the loss is reported
"""

import asyncio
import random

import msgspec
import pytest

from swarm import events
from swarm.charter.manifest import Admission, Charter, Quorum
from swarm.net.memory import run_virtual
from swarm.node.work import ISLAND
from swarm.state.chain import last_mark
from swarm.state.forks import weight_of
from tests.chaos.checks import check_bugs
from tests.memo import memoised
from tests.simulation import Simulation, make_charter, peer_identity

IDS = tuple(peer_identity(number).peer_id for number in range(8))


def available(genesis: int, members: int = 12) -> Charter:
    made = make_charter(genesis, members=members, ceiling_s=6.0)
    return msgspec.structs.replace(made, quorum=Quorum(kind="available"), admission=Admission(kind="open"))


async def started(charter: Charter, peers: int, *, seed: int = 0) -> Simulation:
    sim = Simulation(charter, seed=seed)
    for number in range(peers):
        await sim.start(number)
    await sim.until_round(2)
    return sim


def split(sim: Simulation, *sides: tuple[int, ...]) -> None:
    sim.network.partition(*([IDS[number] for number in side] for side in sides))


def tops(sim: Simulation) -> dict[int, int]:
    return {number: sim.committed(number) for number in sim.peers if sim.is_alive(number)}


def records_of(sim: Simulation, number: int) -> dict[int, bytes]:
    """Digests of the records on a peer's disk, which must verify from the charter."""
    store = sim.peers[number].store
    last = last_mark(sim.run_info, store.load_record).round
    assert store.load_record(last + 1) is None
    return {round_number: sim.decided(number, round_number).digest for round_number in range(1, last + 1)}


# --- majority ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", range(0, 6, 3))
def test_no_round_ever_has_two_results_whatever_is_cut_off_from_what(first: int) -> None:
    async def main(seed: int) -> None:
        rng = random.Random(seed)
        peers = rng.randint(3, 6)
        sim = await started(make_charter(peers, ceiling_s=6.0), peers, seed=seed)
        for _ in range(rng.randint(2, 4)):
            numbers = list(range(peers))
            rng.shuffle(numbers)
            cuts = sorted(rng.sample(range(1, peers), k=min(rng.randint(1, 2), peers - 1)))
            sides = [tuple(numbers[a:b]) for a, b in zip([0, *cuts], [*cuts, peers], strict=True)]
            split(sim, *sides)
            await asyncio.sleep(rng.uniform(0.2, 15))
            if rng.random() < 0.5:
                sim.network.heal()
                await asyncio.sleep(rng.uniform(0.0, 6))
            sim.check()
        sim.network.heal()
        await asyncio.sleep(15)
        await sim.until_round(max(tops(sim).values()) + 2, within_s=240)
        sim.check()  # one chain, one state a round, on every disk
        await sim.finish()
        sim.check()

    for seed in range(first, first + 3):
        with memoised():
            run_virtual(main(seed))


def test_the_side_without_the_quorum_commits_nothing_and_says_what_to_do() -> None:
    async def main() -> None:
        sim = await started(make_charter(5, ceiling_s=6.0), 5)
        split(sim, (0, 1), (2, 3, 4))
        await asyncio.sleep(40)
        stood, went = sim.committed(0), sim.committed(2)
        assert went > stood + 3
        began = [sim.peers[number].of(events.IslandBegan) for number in (0, 1)]
        for found in began:
            assert (found[-1].present, found[-1].needed) == (2, 2.5) and found[-1].trains
            assert set(found[-1].missing) == {IDS[number] for number in (2, 3, 4)}
        assert not any(sim.peers[number].of(events.IslandBegan) for number in (2, 3, 4))
        sim.network.heal()
        healed = max(tops(sim).values())
        await sim.until_round(healed + 2, within_s=60)
        heads = {sim.peers[number].engine.ctx.head.round for number in range(5)}  # type: ignore[union-attr]
        assert max(heads) <= healed + 4
        for number in (0, 1):
            assert [event.updates > 0 for event in sim.peers[number].of(events.IslandEnded)] == [True]
        await sim.until_round(healed + 4)
        latest = sim.decided(2, healed + 4)
        assert {IDS[0], IDS[1]} <= set(latest.roster.peers)
        await sim.finish()
        sim.check()

    run_virtual(main())


def test_who_is_cut_off_with_its_update_in_a_roster_trains_on_beside_it() -> None:
    async def main() -> None:
        sim = await started(make_charter(4, ceiling_s=6.0), 4)
        closed = asyncio.Event()
        sim.peers[0].show = lambda event: closed.set() if isinstance(event, events.RosterReady) else None
        await asyncio.wait_for(closed.wait(), 60)
        split(sim, (0,), (1, 2, 3))
        opened = sim.committed(0) + 1
        await asyncio.sleep(60)
        assert sim.committed(0) == opened - 1 and sim.committed(1) > opened + 3
        (began,) = sim.peers[0].of(events.IslandBegan)
        assert began.trains
        sim.network.heal()
        healed = sim.committed(1)
        await sim.until_round(healed + 2, within_s=60)
        assert [event.updates for event in sim.peers[0].of(events.IslandEnded)] == [1]
        late = [(event.round, event.kept, event.reason) for event in sim.peers[0].of(events.UpdateLate)]
        assert IDS[0] in sim.decided(1, opened).roster.peers, "it may have been counted"
        assert late == [(opened, True, ISLAND)], "what was made beside it, and nothing twice"
        assert IDS[0] in sim.decided(1, healed + 2).roster.peers
        await sim.finish()
        sim.check()

    run_virtual(main())


def test_electors_that_cannot_be_dialled_are_missed_once_they_announce_nothing() -> None:
    async def main() -> None:
        sim = Simulation(make_charter(5, ceiling_s=6.0), seed=2)
        for number in range(5):
            await sim.start(number, dialable=number < 3)
        await sim.until_round(2)
        for number in (2, 3, 4):
            sim.kill(number)
        await asyncio.sleep(60)
        for number in (0, 1):
            said = sim.peers[number].of(events.IslandBegan)
            assert said and set(said[-1].missing) == {IDS[2], IDS[3], IDS[4]}
        await sim.start(3, dialable=False)
        await sim.until_round(sim.committed(0) + 2, 0, 1, 3)
        sim.check()
        await sim.finish()

    run_virtual(main())


# --- available --------------------------------------------------------------------------------------------------------


async def healed_to_one(sim: Simulation, within_s: float = 60.0) -> None:
    """Waits until all stand on one chain, and for two rounds more."""
    async with asyncio.timeout(within_s):
        while len({tuple(records_of(sim, number).values())[: shared(sim)] for number in tops(sim)}) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    await sim.until_round(max(tops(sim).values()) + 2)


def shared(sim: Simulation) -> int:
    return min(tops(sim).values())


def weight_on_disk(sim: Simulation, number: int, since: int) -> int:
    found = (sim.decided(number, at) for at in range(since + 1, sim.committed(number) + 1))
    return sum(weight_of(sim.run_info, item.value, item.roster) for item in found)


def test_both_sides_go_on_and_the_heavier_chain_wins() -> None:
    async def main() -> None:
        sim = await started(available(5), 5)
        split(sim, (0, 1), (2, 3, 4))
        fork = min(tops(sim).values())
        await asyncio.sleep(9)
        assert min(tops(sim).values()) > fork, "both sides go on"
        before = {number: records_of(sim, number) for number in range(5)}
        sim.network.heal()
        await healed_to_one(sim)
        heavier, lighter = records_of(sim, 2), before[0]
        assert all(heavier[number] == digest for number, digest in before[2].items()), "the heavier side keeps its own"
        assert any(heavier.get(number) != digest for number, digest in lighter.items())
        for number in (0, 1):
            (switched,) = sim.peers[number].of(events.ChainSwitched)
            assert switched.rounds_lost > 0 and 0 < switched.weight_lost < switched.weight_won
        assert not any(sim.peers[number].of(events.ChainSwitched) for number in (2, 3, 4))
        await sim.finish()
        check_bugs(sim)

    run_virtual(main())


def test_those_whose_passports_ran_out_are_not_waited_for() -> None:
    """Half of the voices are theirs: who is there goes on without them."""

    async def main() -> None:
        sim = Simulation(available(4, members=4), seed=2)
        for number in range(4):
            await sim.start(number, expires_in_s=10**7 if number < 2 else 1012.0)
        await sim.until_round(2)
        await asyncio.sleep(30)
        at = sim.committed(0)
        await sim.until_round(at + 3, 0, 1, within_s=120.0)
        assert set(sim.decided(0, at + 3).roster.peers) == {IDS[0], IDS[1]}
        await sim.finish()

    run_virtual(main())


def test_two_members_outweigh_three_peers_of_one() -> None:
    async def main() -> None:
        sim = await started(available(3, members=3), 3)
        for number in (3, 6):  # peer n is of member n mod 3: with 0, these are of one
            await sim.start(number)
        await sim.until_round(max(tops(sim).values()) + 2)
        assert set(sim.decided(0, max(tops(sim).values()) - 1).roster.peers) == {IDS[n] for n in (0, 1, 2, 3, 6)}
        split(sim, (0, 3, 6), (1, 2))
        await asyncio.sleep(9)
        before = records_of(sim, 1)
        sim.network.heal()
        await healed_to_one(sim)
        assert all(records_of(sim, 0)[number] == digest for number, digest in before.items())
        for number in (0, 3, 6):
            (switched,) = sim.peers[number].of(events.ChainSwitched)
            assert switched.weight_lost == switched.rounds_lost, "one a round: whose peers they are is one member"
            assert switched.weight_lost < switched.weight_won
        await sim.finish()
        check_bugs(sim)

    run_virtual(main())


def test_volunteers_that_stay_together_outweigh_one_that_is_quicker_alone() -> None:
    """Where there are no members, whoever is counted weighs; a round that waits for nobody comes sooner."""

    async def main() -> None:
        charter = msgspec.structs.replace(available(4), members=())
        sim = Simulation(charter, seed=2)
        for number in range(4):
            await sim.start(number, training_s=(lambda: 3.0) if number == 0 else (lambda: 6.0))
        await sim.until_round(2)
        split(sim, (0,), (1, 2, 3))
        async with asyncio.timeout(60):
            while sim.committed(1) < 3 or sim.committed(0) <= sim.committed(1):  # noqa: ASYNC110 (virtual time)
                await asyncio.sleep(0.05)
        before = records_of(sim, 1)
        sim.network.heal()
        await healed_to_one(sim)
        assert all(records_of(sim, 0)[number] == digest for number, digest in before.items())
        (switched,) = sim.peers[0].of(events.ChainSwitched)
        assert switched.weight_lost == switched.rounds_lost and switched.weight_won > switched.weight_lost
        assert not any(sim.peers[number].of(events.ChainSwitched) for number in (1, 2, 3))
        await sim.finish()
        check_bugs(sim)

    run_virtual(main())


def test_rounds_that_are_too_many_are_not_taken_back_by_themselves() -> None:
    async def main() -> None:
        sim = await started(available(5), 5)
        split(sim, (0, 1), (2, 3, 4))
        await asyncio.sleep(60)
        before = records_of(sim, 0)
        sim.network.heal()
        await asyncio.sleep(20)
        now = records_of(sim, 0)
        assert all(now[number] == digest for number, digest in before.items())
        apart = sim.peers[0].of(events.ChainsApart)
        assert apart and "--state" in apart[0].reason
        await sim.finish()
        check_bugs(sim)

    run_virtual(main())


@pytest.mark.parametrize("first", range(0, 4, 2))
def test_any_schedule_of_partitions_ends_on_one_chain(first: int) -> None:
    async def main(seed: int) -> None:
        rng = random.Random(seed)
        peers = rng.randint(3, 6)
        sim = await started(available(peers), peers, seed=seed)
        for _ in range(rng.randint(1, 3)):
            numbers = list(range(peers))
            rng.shuffle(numbers)
            cut = rng.randint(1, peers - 1)
            split(sim, tuple(numbers[:cut]), tuple(numbers[cut:]))
            await asyncio.sleep(rng.uniform(0.2, 8))
            sim.network.heal()
            await healed_to_one(sim, within_s=120)
        await sim.finish()
        check_bugs(sim)
        chains = [records_of(sim, number) for number in range(peers)]
        common = min(len(chain) for chain in chains)
        assert len({tuple(chain.values())[:common] for chain in chains}) == 1

    for seed in range(first, first + 2):
        with memoised():
            run_virtual(main(seed))
