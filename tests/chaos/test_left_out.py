"""Leaders that leave quality votes out: what the members said decides all the same, whoever leads.

One peer accepts every candidate and the others find each one worse, so no candidate may ever become the base. The rogue
does what it can whenever it leads; rounds go on.
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import pytest

from swarm import events
from swarm.charter.manifest import Charter, QualityVotes
from swarm.errors import ProtocolError
from swarm.net import wire
from swarm.net.memory import run_virtual
from swarm.round import again, lead, quality
from swarm.round.context import Context
from swarm.round.member import Scored
from swarm.round.quality import Verdict
from swarm.round.seats import Guest
from swarm.sovereignty.gate import InForce
from swarm.sovereignty.labels import Label
from swarm.sovereignty.lattice import Restrictions
from swarm.state.electorate import Electorate
from swarm.state.roster import Roster
from swarm.state.run import Run
from tests.chaos.test_quality import charter, falls, rises
from tests.chaos.test_rogue_voices import ctx_of, three_peers
from tests.simulation import Simulation, peer_identity

ROUNDS = 5
OTHER_ONE = "a proposal whose outcome would be the other one"
NOT_PUT = "a proposal of a base that its leader has not put to the members"


class Rogue:
    """Whoever leads round 1 first: as leader it keeps its own vote and no other."""

    def __init__(
        self, made: Charter, monkeypatch: pytest.MonkeyPatch, *, asks: bool = True, waits: bool = True
    ) -> None:
        run = Run(made)
        self.me = Electorate.genesis(run).ballot(run.id, 1, 1).leader
        self.number = made.genesis.peers.index(self.me)
        self.led = 0
        self._honest = lead.put_to_members
        self._asks, self._waits = asks, waits
        monkeypatch.setattr(lead, "put_to_members", self._put)
        is_void = again._is_void
        monkeypatch.setattr(again, "_is_void", lambda ctx, *rest: ctx.me != self.me and is_void(ctx, *rest))

    async def _put(self, ctx: Context, roster: Roster, guests: Sequence[Guest], held: Scored) -> Verdict:
        if ctx.me != self.me:
            return await self._honest(ctx, roster, guests, held)
        self.led += 1
        candidate = held.successor.state_digest
        if self._waits:
            await self._honest(ctx, roster, guests, held)
        elif self._asks:
            for guest in guests:
                guest.tell(wire.AskQuality(held.chunk_digests, candidate))
        word = await quality.own_word(ctx, held, candidate)
        assert isinstance(word.frame, wire.CastQuality)
        return Verdict(candidate, (word.frame.vote,), False, held.successor)


def hurried(made: Charter) -> Charter:
    """The rogue gives its attempt up in time for the next one: its own vote is then among those that others find."""
    deadlines = msgspec.structs.replace(made.deadlines, floor_s=0.5, ceiling_s=1.5)
    return msgspec.structs.replace(made, deadlines=deadlines)


def refusals(sim: Simulation, *numbers: int) -> set[str]:
    return {event.reason for number in numbers for event in sim.peers[number].of(events.FrameRefused)}


WAYS: dict[str, tuple[dict[str, bool], str]] = {
    "drops what it was told": ({}, OTHER_ONE),
    "closes before they have scored": ({"waits": False}, OTHER_ONE),
    "asks nobody": ({"waits": False, "asks": False}, NOT_PUT),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_rejection_that_a_leader_leaves_out_is_a_rejection(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, (options, reason) = hurried(charter(3)), WAYS[way]
    rogue = Rogue(made, monkeypatch, **options)
    others = [number for number in range(3) if number != rogue.number]

    async def main() -> None:
        sim = Simulation(made, seed=3)
        sim.scores.update({rogue.number: falls} | dict.fromkeys(others, rises))
        sim.scoring_s = lambda: 0.2  # twice, for the base and the candidate: less than the least deadline
        for number in range(3):
            await sim.start(number)
        await sim.until_round(ROUNDS)
        await sim.finish()
        sim.check()
        assert all(sim.decided(others[0], number).value.is_rejected for number in range(1, ROUNDS + 1))
        assert rogue.led and any(found.startswith(reason) for found in refusals(sim, *others))

    run_virtual(main())


def test_the_silent_peers_of_a_member_hear_the_one_that_rejects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of three members say no, each with one of its two peers: half of their voices alone could not hold it up."""
    made = hurried(charter(6, members=3))  # peers n and n + 3 are of one member
    rogue = Rogue(made, monkeypatch)
    others = [number for number in range(6) if number % 3 != rogue.number % 3]

    async def main() -> None:
        sim = Simulation(made, seed=4)
        sim.scores.update({rogue.number: falls} | dict.fromkeys(others[:2], rises))
        assert {number % 3 for number in others[:2]} == {number % 3 for number in others}
        for number in range(6):
            await sim.start(number)
        await sim.until_round(ROUNDS)
        await sim.finish()
        sim.check()
        assert all(sim.decided(others[0], number).value.is_rejected for number in range(1, ROUNDS + 1))
        assert rogue.led and any(found.startswith(OTHER_ONE) for found in refusals(sim, *others[2:]))

    run_virtual(main())


def test_witnesses_make_no_quorum_for_a_value_without_the_rejections(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two witnesses the rogue has three of five voices, if they go by its word when it leads again."""
    watching = (peer_identity(8).peer_id, peer_identity(9).peer_id)
    made = hurried(charter(3, witnesses=watching))
    rogue = Rogue(made, monkeypatch)
    others = [number for number in range(3) if number != rogue.number]

    async def main() -> None:
        sim = Simulation(made, seed=3)
        sim.scores.update({rogue.number: falls} | dict.fromkeys(others, rises))
        for number in (8, 9):
            await sim.start_witness(number)
        for number in range(3):
            await sim.start(number)
        await sim.until_round(ROUNDS)
        await sim.finish()
        sim.check()
        assert all(sim.decided(others[0], number).value.is_rejected for number in range(1, ROUNDS + 1))
        assert rogue.led

    run_virtual(main())


def test_a_dead_member_costs_a_leader_the_least_deadline_and_no_attempt() -> None:
    """It dies while it scores: the others wait for its word as long as every leader waits for it."""

    async def main() -> None:
        sim = Simulation(charter(4), seed=3)
        sim.scores.update(dict.fromkeys(range(4), falls))
        for number in range(4):
            await sim.start(number)
        await sim.until_round(2)

        def dies(number: int) -> Callable[[], float]:
            def scoring() -> float:
                asyncio.get_running_loop().call_later(0.05, sim.kill, number)
                return 5.0

            return scoring

        assert sim.trainers[3].scores is not None
        sim.trainers[3].scoring_s = dies(3)
        at = sim.committed(0)
        await sim.until_round(at + 2, 0, 1, 2)
        assert not sim.is_alive(3)
        assert not any(sim.peers[number].of(events.FrameRefused) for number in range(3))
        await sim.finish()
        sim.check()

    run_virtual(main())


@pytest.mark.parametrize("bad", ["another's", "another run", "impossible"])
def test_a_word_that_is_not_its_authors_is_refused_and_keeps_nobody_from_voting(bad: str) -> None:
    async def main() -> None:
        sim = await three_peers()
        ctx, author = ctx_of(sim, 0), peer_identity(1)
        vote = wire.QualityVote(sim.run_info.id, ctx.round, ctx.head.state_digest, bytes(32), False, None)
        if bad == "another run":
            vote = wire.QualityVote("", ctx.round, ctx.head.state_digest, bytes(32), False, None)
        if bad == "impossible":
            vote = wire.QualityVote(sim.run_info.id, ctx.round, ctx.head.state_digest, bytes(32), False, 101)
        sealed = wire.seal(peer_identity(2) if bad == "another's" else author, vote)
        with pytest.raises(ProtocolError, match="quality vote"):
            quality.told_quality(ctx, author.peer_id, wire.CastQuality(sealed))
        await sim.finish()

    run_virtual(main())


@pytest.mark.parametrize(
    ("label", "votes"), [(Label.OPEN, True), (Label.PRIVATE, True), (Label.PRIVATE, False)], ids=str
)
def test_a_private_members_vote_counts_if_its_policy_lets_it_out_and_says_nothing_else(
    label: Label, votes: bool
) -> None:
    """What it trains on and what it scores on is private: no update of it, and a verdict without a figure or none."""

    async def main() -> None:
        sim = Simulation(charter(3, QualityVotes(tolerance_percent=1.0)), seed=3)
        sim.scores.update({0: falls, 1: falls, 2: rises})
        for number in range(3):
            peer = await sim.start(number)
            if number == 2 and peer.engine is not None:
                gate = peer.engine._gate
                gate._label, gate._policy = label, InForce("", Restrictions(label=label, votes=votes))
        await sim.until_round(2)
        await sim.finish()
        sim.check()
        said = {each.author: wire.unseal(each, wire.QualityVote) for each in sim.decided(0, 2).value.quality}
        if votes:
            vote = said[sim.peers[2].id]
            assert len(said) == 3 and not vote.accepts
            assert (vote.change_percent is None) == (label is Label.PRIVATE)
        else:
            assert set(said) == {sim.peers[0].id, sim.peers[1].id}
            assert any("private_data" in event.text for event in sim.peers[2].of(events.Note))

    run_virtual(main())
