"""The quality floor under faults: a rejection is a record like any other, and everybody stands on the same base."""

import asyncio
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from swarm import events
from swarm.charter.manifest import Charter, QualityVotes
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.memory import run_virtual
from swarm.state.chain import Mark
from swarm.state.electorate import Electorate
from swarm.state.quality import tally
from swarm.state.records import Record, Value, read_value, value_digest
from tests.simulation import Simulation, make_charter, peer_identity

RULE = QualityVotes(tolerance_percent=1.0)


def charter(peers: int, rule: QualityVotes = RULE, *, members: int = 12, witnesses: tuple[PeerId, ...] = ()) -> Charter:
    return msgspec.structs.replace(make_charter(peers, members=members, witnesses=witnesses), quality=rule)


def falls(base_N: np.ndarray) -> float:
    """A loss that the made-up updates lower: they shrink the base."""
    return float(np.dot(base_N, base_N))


def rises(base_N: np.ndarray) -> float:
    return 1e6 / falls(base_N)


async def swarm(scores: dict[int, Callable[[np.ndarray], float | None]], made: Charter, *, seed: int = 3) -> Simulation:
    sim = Simulation(made, seed=seed)
    sim.scores.update(scores)
    for number in range(len(made.genesis.peers)):
        await sim.start(number)
    return sim


def test_a_candidate_that_most_members_find_worse_leaves_the_base_and_takes_its_number() -> None:
    async def main() -> None:
        sim = await swarm({0: rises, 1: rises, 2: falls}, charter(3))
        await sim.until_round(3)
        await sim.finish()
        sim.check()
        mark = Mark.genesis(sim.run_info)
        for number in (1, 2, 3):
            decided = mark.verify(sim.run_info, sim.decided(0, number).record)
            value = decided.value
            assert value.is_rejected and len(value.quality) == 3
            assert value.state_digest == value.base_digest == mark.state_digest != value.candidate
            mark = Mark.after(sim.run_info, decided)
        for peer in sim.peers.values():
            assert not peer.of(events.RoundCommitted)
            said = peer.of(events.RoundRejected)
            assert [event.round for event in said[:3]] == [1, 2, 3]
            assert (said[0].rejecting, said[0].accepting, said[0].silent) == (2, 1, 0)

    run_virtual(main())


def test_a_candidate_that_is_good_enough_for_half_of_them_is_committed_with_the_votes() -> None:
    async def main() -> None:
        sim = await swarm({0: falls, 1: rises}, charter(2))
        await sim.until_round(3)
        await sim.finish()
        sim.check()
        for number in (1, 2, 3):
            value = sim.decided(0, number).value
            assert not value.is_rejected and value.state_digest == value.candidate
            votes = {sealed.author: wire.unseal(sealed, wire.QualityVote) for sealed in value.quality}
            assert votes[sim.peers[0].id].accepts and not votes[sim.peers[1].id].accepts
            assert (votes[sim.peers[0].id].change_percent or 0) < 0 < (votes[sim.peers[1].id].change_percent or 0)

    run_virtual(main())


@pytest.mark.parametrize("silence", ["accept", "reject"])
def test_silence_counts_as_the_charter_says(silence: str) -> None:
    async def main() -> None:
        rule = QualityVotes(silence="accept" if silence == "accept" else "reject")
        sim = await swarm({0: falls}, charter(3, rule))
        await sim.until_round(2)
        await sim.finish()
        sim.check()
        assert sim.decided(0, 2).value.is_rejected == (silence == "reject")
        assert len(sim.decided(0, 2).value.quality) == 1

    run_virtual(main())


def test_a_model_that_diverged_is_rejected() -> None:
    async def main() -> None:
        def diverges(base_N: np.ndarray) -> float:
            return 1.0 if np.array_equal(base_N, sim.base_zero()) else float("inf")

        sim = Simulation(charter(3), seed=1)
        sim.scores.update({0: diverges, 1: diverges})
        for number in range(3):
            await sim.start(number)
        await sim.until_round(2)
        await sim.finish()
        sim.check()
        assert sim.decided(0, 2).value.is_rejected

    run_virtual(main())


def test_members_are_counted_and_not_their_peers() -> None:
    """Three peers of one member say no, one each of two others says yes: with voices by peer it would be rejected."""

    async def main() -> None:
        made = charter(5, members=3)  # peer n is of member n mod 3: 0 and 3, 1 and 4, 2
        sim = await swarm({0: rises, 3: rises, 2: falls, 1: falls, 4: rises}, made)
        await sim.until_round(2)
        await sim.finish()
        sim.check()
        said = sim.peers[0].of(events.RoundCommitted)
        assert said and not sim.decided(0, 1).value.is_rejected

    run_virtual(main())


def test_a_newcomer_follows_a_chain_with_rejections_and_kills_lose_none() -> None:
    """Peers die by SIGKILL and come back while some rounds are rejected: one chain, one base, and it replays."""

    async def main(seed: int) -> None:
        sim = Simulation(charter(4), seed=seed)
        numbers = sim.random.sample(range(10_000), 50)

        def moody(base_N: np.ndarray) -> float:
            return float(numbers[int(abs(base_N[0]) * 1e6) % 50])

        sim.scores.update(dict.fromkeys(range(4), moody))
        sim.write_s = lambda: sim.random.uniform(0.0, 0.01)
        for number in range(4):
            await sim.start(number)
        for _ in range(12):
            await asyncio.sleep(sim.random.uniform(0.2, 1.5))
            number = sim.random.randrange(4)
            sim.kill(number)
            await asyncio.sleep(sim.random.uniform(0.0, 1.0))
            await sim.start(number)
        top = max(sim.committed(number) for number in range(4))
        await sim.until_round(top + 2)
        newcomer = await sim.start(4)
        await sim.until_round(top + 4, 4)
        await sim.finish()
        sim.check()
        kinds.update(sim.decided(0, number).value.is_rejected for number in range(1, top + 1))
        assert newcomer.engine is not None

    kinds: set[bool] = set()
    for seed in range(3):
        run_virtual(main(seed))
    assert kinds == {True, False}, "both kinds of rounds must have happened"


def test_a_rejection_that_was_voted_for_is_proposed_again() -> None:
    """The leader dies once a quorum has voted for a rejection: whoever leads next decides the same value."""

    async def main() -> None:
        sim = Simulation(charter(3), seed=5)
        sim.scores.update({0: rises, 1: rises, 2: rises})
        died: list[int] = []

        def dies_when_a_follower_has_voted(number: int) -> None:
            accepted = [peer for peer in sim.peers.values() if _votes(peer.disk.promises)]
            if len(accepted) >= 2 and not died:
                leader = next(
                    n for n, peer in sim.peers.items() if peer.id == _votes(accepted[0].disk.promises)[0].leader
                )
                died.append(leader)
                values.update(value for peer in accepted for value in _values(peer.disk.promises))
                asyncio.get_running_loop().call_soon(sim.kill, leader)

        values: set[bytes] = set()
        sim.on_write = dies_when_a_follower_has_voted
        for number in range(3):
            await sim.start(number)
        async with asyncio.timeout(60):
            while not died:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        others = [number for number in range(3) if number not in died]
        await sim.until_round(2, *others)
        await sim.start(died[0])
        await sim.until_round(3)
        await sim.finish()
        sim.check()
        decided = sim.decided(others[0], 1)
        assert decided.value.is_rejected
        assert value_digest(wire.decode(decided.record, Record).value) in {value_digest(value) for value in values}

    run_virtual(main())


def _votes(promises: list) -> list[wire.Ballot]:
    return [state.accepted.ballot for state in promises if state.accepted is not None]


def _values(promises: list) -> list[bytes]:
    return [state.accepted.value for state in promises if state.accepted is not None]


def test_a_value_that_does_not_follow_from_its_votes_is_refused() -> None:
    async def main() -> None:
        sim = await swarm({0: rises, 1: rises, 2: falls}, charter(3))
        await sim.until_round(1)
        await sim.finish()
        value = sim.decided(0, 1).value
        mark = Mark.genesis(sim.run_info)
        votes = value.quality

        def refused(match: str, **change: object) -> None:
            bent = wire.encode(msgspec.structs.replace(value, **change))
            with pytest.raises(ProtocolError, match=match):
                mark.read(sim.run_info, bent)

        refused("does not follow", is_rejected=False, state_digest=value.candidate)
        refused("another state", state_digest=value.candidate)
        refused("does not follow", quality=votes[:1])
        refused("has given it", quality=(*votes[:2], votes[0]))
        refused("more quality votes", quality=(*votes, votes[0]))
        refused("something else", candidate=bytes(32))
        stranger = wire.seal(peer_identity(50), wire.unseal(votes[0], wire.QualityVote))
        refused("has none", quality=(*votes[:2], stranger))
        forged = msgspec.structs.replace(votes[0], author=votes[1].author)
        refused("signature", quality=(forged, *votes[2:]))

    run_virtual(main())


def test_without_a_floor_a_value_carries_no_votes() -> None:
    async def main() -> None:
        sim = await swarm({0: rises, 1: rises, 2: rises}, make_charter(3))
        await sim.until_round(1)
        await sim.finish()
        sim.check()
        value = sim.decided(0, 1).value
        assert (value.quality, value.candidate, value.is_rejected) == ((), b"", False)
        with pytest.raises(ProtocolError, match="without a quality floor"):
            read_value(
                wire.encode(msgspec.structs.replace(value, candidate=bytes(32))),
                sim.run_info,
                Electorate.genesis(sim.run_info),
                round_number=1,
                previous=b"",
                base_digest=value.base_digest,
            )
        assert isinstance(value, Value)

    run_virtual(main())


def test_the_tally_splits_a_members_voice_among_those_who_voted() -> None:
    members = {PeerId("a1"): "a", PeerId("a2"): "a", PeerId("a3"): "a", PeerId("b"): "b", PeerId("c"): "c"}
    found = tally(members, {PeerId("a1"): True, PeerId("a2"): False, PeerId("b"): False}, RULE)
    assert (float(found.accepting), float(found.rejecting), found.silent, found.is_rejected) == (0.5, 1.5, 1, False)
    strict = QualityVotes(silence="reject")
    assert tally(members, {PeerId("a1"): True, PeerId("b"): True}, strict).is_rejected is False
    assert tally(members, {PeerId("a1"): True}, strict).is_rejected
    minted = {PeerId(f"b{number}"): "b" for number in range(50)} | members
    against = {peer: False for peer in minted if peer.startswith("b")}
    assert not tally(minted, {**against, PeerId("a1"): True, PeerId("c"): True}, RULE).is_rejected
