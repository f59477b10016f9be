"""The chain an observer follows: through amendments, rejections and restarts, to a better one, and not into lies."""

import asyncio
from collections.abc import Callable
from functools import reduce

import msgspec
import numpy as np
import pytest

from swarm.charter import restart as restarts
from swarm.charter.manifest import Charter, QualityVotes, Quorum
from swarm.charter.restart import Restart, SignedRestart
from swarm.charter.signing import run_id
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net.memory import run_virtual
from swarm.node.observed_chain import KEPT, ObservedChain
from swarm.state.run import Run
from swarm.telemetry.facts import Facts, apply
from swarm.telemetry.seen import Decided, Parted, Seen
from swarm.telemetry.view import View, view
from tests.governing import amendment
from tests.simulation import CREATED_S, MEMBER_KEYS, Simulation, make_charter, peer_identity

IDS = tuple(peer_identity(number).peer_id for number in range(5))
MOST = 16
"""Records in one answer."""


class Watching:
    """An observer that asks simulated peers for their records."""

    def __init__(self, run: Run) -> None:
        self.chain = ObservedChain(run, MOST)
        self.told: list[Seen] = []

    def ask(self, sim: Simulation, number: int) -> None:
        first, last = self.chain.first_for(IDS[number]), sim.committed(number)
        load = sim.peers[number].store.load_record
        found = [load(each) for each in range(first, min(last, first + MOST - 1) + 1)]
        assert all(found)
        self.told += self.chain.offer(IDS[number], [record for record in found if record])

    def until_level(self, sim: Simulation, number: int) -> None:
        """Asks until there is nothing to ask."""
        for _ in range(20):
            self.ask(sim, number)
            if self.chain.mark.round == sim.committed(number) and not self.chain.is_doubted(IDS[number]):
                return
        raise AssertionError("it does not come to an end")

    @property
    def seen(self) -> View:
        return view(reduce(apply, self.told, Facts()), CREATED_S)


def digests(sim: Simulation, number: int) -> list[str]:
    return [sim.decided(number, each).value.state_digest.hex() for each in range(1, sim.committed(number) + 1)]


def played(script: Callable[[Simulation], object], charter: Charter, scores: dict | None = None) -> None:
    async def main() -> None:
        sim = Simulation(charter)
        sim.scores.update(scores or {})
        for number in range(len(charter.genesis.peers)):
            await sim.start(number)
        await sim.until_round(2)
        result = script(sim)
        assert asyncio.iscoroutine(result)
        await result
        await sim.finish()

    run_virtual(main())


def test_amended_rules_are_followed() -> None:
    async def script(sim: Simulation) -> None:
        document = amendment(sim.run_info.rules, MEMBER_KEYS[:9], from_round=4, reduce={"min_contributors": 2})
        await sim.peers[1].store.save_document("dropped.json", document)
        await sim.until_round(6)
        watching = Watching(Run(sim.charter))
        watching.until_level(sim, 2)
        assert watching.chain.mark.rules.epoch == 1 and len(watching.seen.rounds) == sim.committed(2)

    played(script, make_charter(3))


def test_a_rejected_round_says_so_and_counts_nobody() -> None:
    def grows(base_N: np.ndarray) -> float:
        return 1.0 / float(np.dot(base_N, base_N))

    async def script(sim: Simulation) -> None:
        watching = Watching(Run(sim.charter))
        watching.until_level(sim, 0)
        for row in watching.seen.rounds:
            assert row.verified and (row.rejecting, row.accepting, row.counted) == (3.0, 0.0, 0)

    charter = msgspec.structs.replace(make_charter(3), quality=QualityVotes())
    played(script, charter, dict.fromkeys(range(3), grows))


def restart(sim: Simulation, round_number: int, number: int, *peers: int) -> bytes:
    payload = Restart(
        run_id=run_id(sim.charter),
        term=1,
        round=round_number,
        record=sim.decided(number, round_number).digest.hex(),
        peers=tuple(IDS[each] for each in peers),
    )
    return restarts.encode(restarts.sign_restart(SignedRestart(restart=payload), sim.charter, MEMBER_KEYS[0]))


def test_a_restart_by_the_founders_is_gone_over_to_whatever_was_seen_before() -> None:
    """The smaller side of a partition is restarted while the larger one, which is watched, goes on."""

    async def script(sim: Simulation) -> None:
        sim.network.partition([IDS[0], IDS[1]], [IDS[2], IDS[3], IDS[4]])
        await asyncio.sleep(12)
        stood = sim.committed(0)
        watching = Watching(Run(sim.charter))
        watching.until_level(sim, 2)
        assert watching.chain.mark.round > stood
        old = digests(sim, 2)
        engine = sim.peers[0].engine
        assert engine is not None
        engine.restart((restart(sim, stood, 0, 0, 1),))
        await sim.until_round(sim.committed(2) + 2, 0, 1)
        watching.until_level(sim, 0)
        (parted,) = [each for each in watching.told if isinstance(each, Parted)]
        assert parted.round == stood and watching.chain.mark.electorate.term == 1
        new = digests(sim, 0)
        assert new[stood] != old[stood]
        assert [row.state_digest for row in watching.seen.rounds] == new
        assert not any(row.apart for row in watching.seen.rounds)
        watching.ask(sim, 2)  # who is still on the old one convinces nobody
        watching.ask(sim, 2)
        assert [row.state_digest for row in watching.seen.rounds] == new

    played(script, make_charter(5))


def test_of_two_sides_of_a_partition_the_heavier_one_is_watched() -> None:
    async def script(sim: Simulation) -> None:
        sim.network.partition([IDS[0], IDS[1]], [IDS[2], IDS[3], IDS[4]])
        await asyncio.sleep(20)
        watching = Watching(Run(sim.charter))
        watching.until_level(sim, 0)
        lighter = digests(sim, 0)
        assert [row.state_digest for row in watching.seen.rounds] == lighter
        await sim.until_round(len(lighter) + 1, 2, 3, 4)
        for _ in range(6):
            watching.ask(sim, 2)
        heavier = digests(sim, 2)
        assert [row.state_digest for row in watching.seen.rounds] == heavier and heavier[-1] not in lighter
        for _ in range(6):
            watching.ask(sim, 0)
        assert [row.state_digest for row in watching.seen.rounds] == heavier
        assert sum(isinstance(each, Parted) for each in watching.told) == 1

    played(script, msgspec.structs.replace(make_charter(5), quorum=Quorum(kind="available")))


def test_what_follows_nothing_is_refused_after_looking_back() -> None:
    async def script(sim: Simulation) -> None:
        await sim.until_round(4)
        watching, liar = Watching(Run(sim.charter)), PeerId("liar")
        watching.until_level(sim, 0)
        good = [sim.decided(0, each).record for each in range(1, sim.committed(0) + 1)]
        elsewhere = Watching(Run(msgspec.structs.replace(sim.charter, members=sim.charter.members[:11])))
        with pytest.raises(ProtocolError):
            elsewhere.chain.offer(liar, good[:1])
        last = watching.chain.mark.round
        await sim.until_round(last + 1)
        bad = bytearray(sim.decided(0, last + 1).record)
        bad[-8] ^= 1
        assert watching.chain.offer(liar, [bytes(bad)]) == [] and watching.chain.is_doubted(liar)
        first = watching.chain.first_for(liar)
        assert first <= last
        assert watching.chain.offer(liar, good[first - 1 :]) == [], "nothing new, and nothing wrong"
        assert not watching.chain.is_doubted(liar)
        watching.chain.offer(liar, [bytes(bad)])
        first = watching.chain.first_for(liar)
        broken = bytearray(good[first - 1])
        broken[-8] ^= 1
        with pytest.raises(ProtocolError):
            for _ in range(4):
                watching.chain.offer(liar, [bytes(broken), *good[first:]])
        assert watching.chain.mark.round == last

    played(script, make_charter(3))


def test_old_records_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(sim: Simulation) -> None:
        await sim.until_round(6)
        watching = Watching(Run(sim.charter))
        watching.until_level(sim, 0)
        assert len(watching.chain._kept) == 3 < len(watching.told) == sim.committed(0)
        assert all(isinstance(each, Decided) for each in watching.told)

    monkeypatch.setattr("swarm.node.observed_chain.KEPT", 3)
    assert KEPT > MOST
    played(script, make_charter(3))
