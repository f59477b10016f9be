"""A vote-only witness: with it two electors survive one death, at any instant of a round."""

import asyncio

import pytest

from swarm.net.memory import run_virtual
from tests.simulation import Simulation, make_charter, peer_identity

WITNESS = 9


def make_swarm(*, witness: bool) -> Simulation:
    witnesses = (peer_identity(WITNESS).peer_id,) if witness else ()
    return Simulation(make_charter(2, witnesses=witnesses, ceiling_s=10.0), seed=5)


async def begin(sim: Simulation) -> None:
    for number in range(2):
        await sim.start(number)
    if sim.charter.genesis.witnesses:
        await sim.start_witness(WITNESS)
    await sim.until_round(2, 0, 1)


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("frame", range(1, 40, 3))
def test_two_electors_and_a_witness_survive_one_death(victim: int, frame: int) -> None:
    async def main() -> None:
        sim = make_swarm(witness=True)
        await begin(sim)
        left = frame

        def on_send(source: str, _target: str) -> None:
            nonlocal left
            left -= source == sim.peers[victim].id
            if left == 0:
                sim.network.on_send = None
                sim.kill(victim)

        sim.network.on_send = on_send
        while sim.is_alive(victim):  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)
        survivor = 1 - victim
        await sim.until_round(sim.committed(survivor) + 3, survivor, within_s=60)
        sim.check()
        await sim.start(victim)
        await sim.until_round(sim.committed(survivor) + 2, 0, 1, within_s=60)
        await sim.finish()
        sim.check()

    run_virtual(main())


def test_without_a_witness_they_do_not() -> None:
    async def main() -> None:
        sim = make_swarm(witness=False)
        await begin(sim)
        sim.kill(1)
        stands_at = sim.committed(0)
        with pytest.raises(TimeoutError):
            await sim.until_round(stands_at + 2, 0, within_s=120)
        await sim.start(1)
        await sim.until_round(stands_at + 2, 0, 1, within_s=60)
        await sim.finish()
        sim.check()

    run_virtual(main())


def test_a_witness_that_dies_forgets_nothing_and_is_not_needed_by_two() -> None:
    async def main() -> None:
        sim = make_swarm(witness=True)
        await begin(sim)
        sim.kill(WITNESS)
        await sim.until_round(sim.committed(0) + 2, 0, 1, within_s=60)
        promised = list(sim.peers[WITNESS].disk.promises)
        await sim.start_witness(WITNESS)
        sim.kill(0)
        await sim.until_round(sim.committed(1) + 2, 1, within_s=60)
        assert len(sim.peers[WITNESS].disk.promises) > len(promised)
        await sim.finish()
        sim.check()

    run_virtual(main())
