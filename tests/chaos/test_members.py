"""Members count, never peers, in a whole swarm: passports that a member mints commit no round and hold none up."""

import asyncio

import msgspec

from swarm import events
from swarm.charter.manifest import Charter, Genesis
from swarm.net.memory import run_virtual
from tests.simulation import Simulation, make_charter, peer_identity


def charter(owners: tuple[int, ...]) -> Charter:
    """Three members; genesis peer n is of member n mod 3, as the simulation issues passports."""
    made = make_charter(len(owners), members=3, ceiling_s=6.0)
    named = tuple(f"m{owner}" for owner in owners)
    genesis = Genesis(peers=tuple(peer_identity(n).peer_id for n in range(len(owners))), members=named)
    return msgspec.structs.replace(made, genesis=genesis)


def test_a_member_with_most_peers_commits_nothing_alone_and_two_small_ones_go_on_without_it() -> None:
    """Member 0 has four of six peers: cut off it is one voice of three; the other two members are a quorum."""

    async def main() -> None:
        sim = Simulation(charter((0, 1, 2)), seed=2)
        for number in (0, 1, 2):
            await sim.start(number)
        await sim.until_round(1)
        for number in (3, 6, 9):  # minted: three more peers of member 0
            await sim.start(number)
        async with asyncio.timeout(60):
            while not any(len(event.peers) == 6 for event in sim.peers[1].of(events.RoundCommitted)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        minted = (0, 3, 6, 9)
        sim.network.partition([sim.peers[number].id for number in minted], [sim.peers[number].id for number in (1, 2)])
        stood = max(sim.committed(number) for number in minted)
        await asyncio.sleep(40)
        assert max(sim.committed(number) for number in minted) <= stood, "four peers of one member are no quorum"
        assert min(sim.committed(number) for number in (1, 2)) > stood + 2, "and two peers of two members are"
        began = sim.peers[0].of(events.IslandBegan)[-1]
        assert (began.present, began.needed) == (1, 1.5)
        sim.network.heal()
        await sim.until_round(max(sim.committed(number) for number in (1, 2)) + 2, within_s=60)
        await sim.finish()
        sim.check()

    run_virtual(main())
