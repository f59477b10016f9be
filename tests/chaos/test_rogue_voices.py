"""Admitted peers that say what is not so, leaders that hang, peers that give nothing: rounds go on all the same."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from swarm import events
from swarm.charter import passport as passports
from swarm.charter.passport import issue
from swarm.errors import ProtocolError
from swarm.net import wire
from swarm.net.memory import Link, MemoryTransport, run_virtual
from swarm.net.transport import Stream
from swarm.round import lead as leading
from swarm.round.context import Context
from swarm.round.news import DOUBT_S, MAX_ATTEMPT, MAX_STEP
from swarm.round.reduction import Reduction
from swarm.sovereignty.labels import Label
from swarm.state.records import Value
from swarm.state.roster import read_roster
from tests.simulation import CREATED_S, MEMBER_KEYS, Simulation, make_charter, peer_identity

ROGUE = peer_identity(5)


class Rogue:
    """An admitted newcomer that asks what it likes."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._transport: MemoryTransport = sim.network.transport(ROGUE.peer_id)
        passport = issue(MEMBER_KEYS[5], sim.charter, ROGUE.peer_id, "DE", CREATED_S + 10**7, float(CREATED_S))
        self.passport = passports.encode(passport)

    async def send(self, number: int, frame: wire.Frame) -> Stream:
        stream = await self._transport.open(self._sim.peers[number].id)
        await stream.send(wire.encode(wire.Hello(self._sim.run_info.id, self.passport)))
        await stream.send(wire.encode(frame))
        return stream

    def join(self, ctx: Context, ballot: wire.Ballot, **changes: object) -> wire.JoinRound:
        """A newcomer's join that gives nothing, with something changed."""
        run_id, digest = self._sim.run_info.id, ctx.head.state_digest
        made = wire.Join(run_id, ctx.round, ballot, digest, self.passport, False, False, 0, 0, 0, None)
        return wire.JoinRound(wire.seal(ROGUE, msgspec.structs.replace(made, **changes)))


def ctx_of(sim: Simulation, number: int) -> Context:
    engine = sim.peers[number].engine
    assert engine is not None and engine.ctx is not None
    return engine.ctx


async def three_peers(link: Link | None = None) -> Simulation:
    sim = Simulation(make_charter(3), seed=1, link=link)
    for number in range(3):
        await sim.start(number)
    await sim.until_round(2)
    return sim


def led(ctx: Context, attempt: int) -> wire.Ballot:
    """The first ballot from `attempt` on that this peer leads."""
    return next(ballot for ballot in map(ctx.ballot, range(attempt, attempt + 100)) if ballot.leader == ctx.me)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(100):
        while not happened():  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)


def invented(sim: Simulation, ctx: Context, rogue: Rogue) -> wire.Accepted:
    """A vote for a value of the rogue's own making: a roster of itself alone in a ballot of its own."""
    ballot = wire.Ballot(999, ROGUE.peer_id)
    alone = rogue.join(ctx, ballot, contributes=True, dialable=True).join
    sealed = wire.seal(ROGUE, wire.Roster(sim.run_info.id, ctx.round, ballot, (alone,)))
    roster = read_roster(sealed, sim.run_info, ctx.head.state_digest)
    chunks = sim.run_info.grid.chunks
    value = Value(
        run_id=sim.run_info.id,
        epoch=0,
        round=ctx.round,
        previous=ctx.head.record_digest,
        base_digest=ctx.head.state_digest,
        roster=sealed,
        weights=roster.weights,
        chunk_digests=(bytes(32),) * chunks,
        contributors=(roster.bitmap({0}),) * chunks,
        state_digest=bytes(32),
    )
    return wire.Accepted(ballot, wire.encode(value))


@pytest.mark.parametrize("is_readable", [True, False])
def test_a_newcomers_word_on_votes_is_not_proposed(is_readable: bool) -> None:
    async def main() -> None:
        sim = await three_peers()
        rogue = Rogue(sim)
        ctx = ctx_of(sim, 0)
        leader = next(number for number in range(3) if sim.peers[number].id == ctx.ballot(1).leader)
        accepted = invented(sim, ctx, rogue) if is_readable else wire.Accepted(ctx.ballot(1), b"x")
        await rogue.send(leader, rogue.join(ctx, ctx.ballot(1), accepted=accepted))
        opened = ctx.round
        await sim.until_round(opened, 0, 1, 2, within_s=10)
        assert {peer.id for peer in map(sim.peers.get, range(3)) if peer} <= set(sim.decided(0, opened).roster.peers)
        assert not any(sim.peers[number].of(events.RoundAborted) for number in range(3))
        await sim.finish()
        sim.check()

    run_virtual(main())


def test_a_voters_vote_that_nobody_can_have_cast_is_no_promise() -> None:
    async def main() -> None:
        sim = await three_peers()
        rogue = Rogue(sim)
        ctx = ctx_of(sim, 0)
        for accepted in (
            wire.Accepted(ctx.ballot(1), b"x"),
            wire.Accepted(wire.Ballot(0, ctx.me), b"x"),
            wire.Accepted(ctx.ballot(2), b"x"),
            invented(sim, ctx, rogue),
        ):
            with pytest.raises(ProtocolError, match=r"bad frame|a vote in a ballot"):
                ctx.check_accepted(ctx.ballot(1), accepted)
        ctx.check_accepted(ctx.ballot(1), None)
        await sim.finish()

    run_virtual(main())


def test_only_its_leader_calls_to_an_attempt_and_only_a_few_attempts_far() -> None:
    async def main() -> None:
        sim = Simulation(make_charter(3), seed=1)
        sim.training_s = lambda: 1000.0
        for number in range(3):
            await sim.start(number)
        await asyncio.sleep(5)
        ctx = ctx_of(sim, 0)
        await Rogue(sim).send(0, wire.CallToAttempt(ctx.round, ctx.ballot(5)))
        await until(lambda: bool(sim.peers[0].of(events.FrameRefused)))
        assert ctx.news.called_attempt == 0
        ctx.told_status(sim.peers[1].id, wire.Status(0, b"", MAX_ATTEMPT * 2, ""))
        assert ctx.news.called_attempt == MAX_STEP
        ctx.told_status(sim.peers[1].id, wire.Status(0, b"", MAX_ATTEMPT * 2, ""))
        assert ctx.news.called_attempt == MAX_STEP
        await sim.finish()

    run_virtual(main())


def test_a_peer_far_behind_in_attempts_comes_to_the_others() -> None:
    async def main() -> None:
        sim = await three_peers()
        for number in (0, 1):
            ctx_of(sim, number).news.called_attempt = 60
            ctx_of(sim, number).news.changed.fire()
        await sim.until_round(max(sim.committed(number) for number in range(3)) + 2, within_s=60)
        await sim.finish()
        sim.check()

    run_virtual(main())


def test_a_leader_that_lives_and_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    hung: list[str] = []
    reduce = leading.reduce

    async def hang(ctx: Context, reduction: Reduction) -> None:
        if ctx.round == 3 and not hung:
            hung.append(ctx.me)
        if hung == [ctx.me]:
            await asyncio.sleep(10_000)
        await reduce(ctx, reduction)

    monkeypatch.setattr(leading, "reduce", hang)

    async def main() -> None:
        sim = await three_peers()
        await sim.until_round(3, within_s=90)
        assert hung
        reasons = {event.reason for peer in sim.peers.values() for event in peer.of(events.RoundAborted)}
        assert "the leader lives and no proposal came from it in time" in reasons
        await sim.finish()
        sim.check()

    run_virtual(main())


@pytest.mark.parametrize(("peers", "private"), [(2, (1,)), (3, (1, 2))])
def test_peers_that_give_nothing_do_not_stop_the_rounds(peers: int, private: tuple[int, ...]) -> None:
    async def main() -> None:
        sim = Simulation(make_charter(peers), seed=1)
        for number in range(peers):
            peer = await sim.start(number)
            if number in private and peer.engine is not None:
                peer.engine._gate._label = Label.PRIVATE
        await sim.until_round(3, within_s=30)
        decided = sim.decided(0, 3)
        roster = decided.roster
        gave = {roster.peers[seat] for bitmap in decided.value.contributors for seat in roster.contributors(bitmap)}
        assert not gave & {sim.peers[number].id for number in private}
        await sim.finish()

    run_virtual(main())


def worthless_record(_rogue: Rogue, ctx: Context) -> wire.Frame:
    return wire.PushRecord(msgspec.msgpack.encode({"value": msgspec.msgpack.encode({"round": ctx.round})}))


def record_of_a_far_round(_rogue: Rogue, _ctx: Context) -> wire.Frame:
    return wire.PushRecord(msgspec.msgpack.encode({"value": msgspec.msgpack.encode({"round": 10**6})}))


def join_of_a_far_round(rogue: Rogue, ctx: Context) -> wire.Frame:
    return rogue.join(ctx, ctx.ballot(1), round=10**6)


@pytest.mark.parametrize("claim", [worthless_record, record_of_a_far_round, join_of_a_far_round])
def test_a_flood_of_claims_does_not_stop_the_rounds(claim: Callable[[Rogue, Context], wire.Frame]) -> None:
    async def main() -> None:
        sim = await three_peers(Link(min_latency_s=0.05, max_latency_s=0.08))
        rogue = Rogue(sim)

        async def flood() -> None:
            while True:
                for number in range(3):
                    stream = await rogue.send(number, claim(rogue, ctx_of(sim, number)))
                    asyncio.get_running_loop().call_later(1, stream.close)
                await asyncio.sleep(0.05)

        flooding = asyncio.create_task(flood())
        began = max(sim.committed(number) for number in range(3))
        await sim.until_round(began + 5, 0, 1, 2, within_s=10 * DOUBT_S)
        flooding.cancel()
        await sim.finish()
        sim.check()

    run_virtual(main())


def test_a_mean_of_too_few_members_is_not_committed_where_states_cross_borders() -> None:
    async def main() -> None:
        sim = Simulation(make_charter(3, min_contributors=3), seed=1)
        await sim.start(0)
        await sim.start(1)
        with pytest.raises(TimeoutError):
            await sim.until_round(1, within_s=60)
        reasons = {event.reason for peer in sim.peers.values() for event in peer.of(events.RoundAborted)}
        assert "nobody gave an update" in reasons  # its owners made no mean of the two that could cross
        await sim.start(2)
        await sim.until_round(3, within_s=120)
        await sim.finish()
        sim.check()

    run_virtual(main())


def test_a_witness_that_was_asked_about_rounds_that_are_far_still_votes() -> None:
    async def main() -> None:
        sim = Simulation(make_charter(2, witnesses=(peer_identity(9).peer_id,)), seed=1)
        await sim.start_witness(9)
        rogue = Rogue(sim)
        for ballot in (wire.Ballot(1, ROGUE.peer_id), wire.Ballot(1, peer_identity(0).peer_id)):
            for number in (wire.MAX_ROUND, 1):
                await rogue.send(9, wire.Prepare(number, ballot))
        await sim.start(0)
        await sim.start(1)
        await sim.until_round(2, 0, 1)
        sim.kill(1)
        await sim.until_round(6, 0, within_s=120)
        await sim.finish()
        sim.check()

    run_virtual(main())


def test_a_witness_that_was_away_is_given_what_it_missed() -> None:
    async def main() -> None:
        sim = Simulation(make_charter(2, witnesses=(peer_identity(9).peer_id,), ceiling_s=10.0), seed=1)
        await sim.start(0)
        await sim.start(1)
        await sim.until_round(5)
        await sim.start_witness(9)
        assert sim.peers[9].store.load_record(1) is None
        sim.kill(1)
        stood = sim.committed(0)
        await sim.until_round(stood + 2, 0, within_s=120)
        assert all(sim.peers[9].store.load_record(number) is not None for number in range(1, stood + 1))
        await sim.finish()
        sim.check()

    run_virtual(main())
