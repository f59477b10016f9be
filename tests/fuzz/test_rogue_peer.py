"""An admitted peer sends well-formed frames with impossible numbers: its stream closes, and nothing else changes."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import msgspec
import pytest
from _pytest.mark import ParameterSet

from swarm import events
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.memory import run_virtual
from swarm.net.transport import StreamLostError
from swarm.round.acceptor import AcceptorState
from swarm.round.context import Context
from swarm.state.records import Record, value_digest
from swarm.state.run import Run
from tests.simulation import FakeTrainer, SimPeer, Simulation, peer_identity
from tests.unit.state.samples import join_of, make_chain, passport_of, small_charter, zero_head

RUN = Run(small_charter())
CHAIN = make_chain(RUN, 1)
ROGUE = peer_identity(5)
HELLO = wire.Hello(RUN.id, passport_of(RUN, ROGUE, member=5))
HUGE = 2**62


def join(**changes: object) -> wire.JoinRound:
    """A join in an attempt that the target leads, with something changed."""
    made = join_of(RUN, zero_head(RUN), ROGUE, wire.Ballot(1, PeerId("")), member=5)
    return wire.JoinRound(wire.seal(ROGUE, msgspec.structs.replace(made, **changes)))


def led(ctx: Context, attempt: int) -> wire.Ballot:
    """A ballot of any number whose leader is the target."""
    return wire.Ballot(attempt, ctx.me)


def pushed(ctx: Context, round_number: int) -> wire.PushRecord:
    value = msgspec.structs.replace(CHAIN[0].value, round=round_number)
    return wire.PushRecord(wire.encode(Record(wire.encode(value), ())))


def ask_vote(ctx: Context, attempt: int, round_number: int = 1) -> wire.AskVote:
    """For a value whose roster is the rogue alone, and which all of that roster has voted for."""
    ballot = wire.Ballot(attempt, ROGUE.peer_id)
    sealed = wire.seal(ROGUE, join_of(RUN, zero_head(RUN), ROGUE, ballot, member=5))
    roster = wire.seal(ROGUE, wire.Roster(RUN.id, 1, ballot, (sealed,)))
    value = msgspec.structs.replace(CHAIN[0].value, roster=roster, weights=(1,), round=round_number)
    encoded = wire.encode(value)
    digest = value_digest(encoded)
    proposal = wire.seal(ROGUE, wire.Proposal(RUN.id, round_number, ballot, digest))
    return wire.AskVote(proposal, encoded, (wire.seal(ROGUE, wire.Vote(RUN.id, round_number, ballot, digest)),))


def led_in_turn(ctx: Context) -> wire.Ballot:
    """An attempt that is the target's to lead."""
    return next(ballot for ballot in map(ctx.ballot, range(1, 60)) if ballot.leader == ctx.me)


Make = Callable[[Context], wire.Frame]
REFUSED: dict[str, Make] = {
    "join: attempt far ahead": lambda ctx: join(ballot=led(ctx, HUGE)),
    "join: attempt zero": lambda ctx: join(ballot=led(ctx, 0)),
    "join: attempt below zero": lambda ctx: join(ballot=led(ctx, -1)),
    "join: tokens below zero": lambda ctx: join(ballot=led(ctx, 1), tokens=-1),
    "join: tokens without end": lambda ctx: join(ballot=led(ctx, 1), tokens=HUGE),
    "lane: round far ahead": lambda ctx: wire.OpenReduce(HUGE, ctx.ballot(1)),
    "results: chunk below zero": lambda ctx: wire.GetResults(1, bytes(32), (-1,)),
    "results: chunk far away": lambda ctx: wire.GetResults(1, bytes(32), (HUGE,)),
    "records: from zero": lambda ctx: wire.GetRecords(0),
    "records: from below zero": lambda ctx: wire.GetRecords(-HUGE),
    "records: from far ahead": lambda ctx: wire.GetRecords(HUGE),
    "state: piece below zero": lambda ctx: wire.GetState(0, (-1,)),
    "state: piece far away": lambda ctx: wire.GetState(0, (HUGE,)),
    "prepare: round zero": lambda ctx: wire.Prepare(0, ctx.ballot(1)),
    "prepare: round far ahead": lambda ctx: wire.Prepare(HUGE, ctx.ballot(1)),
    "prepare: the last round of all": lambda ctx: wire.Prepare(wire.MAX_ROUND, ctx.ballot(1)),
    "prepare: attempt far ahead": lambda ctx: wire.Prepare(ctx.round, led(ctx, HUGE)),
    "prepare: attempt zero": lambda ctx: wire.Prepare(ctx.round, led(ctx, 0)),
    "vote: attempt far ahead": lambda ctx: ask_vote(ctx, HUGE),
    "vote: round far ahead": lambda ctx: ask_vote(ctx, 1, wire.MAX_ROUND),
    "call: attempt zero": lambda ctx: wire.CallToAttempt(ctx.round, led(ctx, 0)),
    "call: attempt far ahead": lambda ctx: wire.CallToAttempt(ctx.round, led(ctx, HUGE)),
    "call: another leader": lambda ctx: wire.CallToAttempt(ctx.round, wire.Ballot(2, ROGUE.peer_id)),
    "restarts: none": lambda ctx: wire.PushRestarts(()),
    "restarts: nonsense": lambda ctx: wire.PushRestarts((b"\xc1" * 40,)),
    "restarts: too many": lambda ctx: wire.PushRestarts((b"{}",) * 1000),
    "record: empty": lambda ctx: wire.PushRecord(b""),
    "record: nonsense": lambda ctx: wire.PushRecord(b"\xc1" * 40),
    "record: deep nesting": lambda ctx: wire.PushRecord(b"\x82\xa1x" + b"\x91" * 100_000 + b"\xc0\xa5value\xc4\x00"),
}
"""Closed and counted."""
HARMLESS: dict[str, Make] = {
    "join: round far ahead": lambda ctx: join(ballot=led(ctx, 1), round=HUGE),
    "join: round below zero": lambda ctx: join(ballot=led(ctx, 1), round=-1),
    "join: a vote above its own ballot": lambda ctx: join(
        ballot=led_in_turn(ctx), accepted=wire.Accepted(led(ctx, HUGE), b"x")
    ),
    "lane: round below zero": lambda ctx: wire.OpenReduce(-1, ctx.ballot(1)),
    "results: round below zero": lambda ctx: wire.GetResults(-1, bytes(32), (0,)),
    "results: one chunk many times": lambda ctx: wire.GetResults(1, bytes(32), (0,) * 3000),
    "reduced: chunk below zero": lambda ctx: wire.GetReduced(1, ctx.ballot(1), (-1,)),
    "reduced: one chunk many times": lambda ctx: wire.GetReduced(1, ctx.ballot(1), (0,) * 3000),
    "state: round below zero": lambda ctx: wire.GetState(-1, (0,)),
    "state: one piece many times": lambda ctx: wire.GetState(0, (0,) * 3000),
    "call: another round": lambda ctx: wire.CallToAttempt(HUGE, led(ctx, HUGE)),
    "documents: nonsense": lambda ctx: wire.PushDocuments((b"", b"{}", b"\xc1" * 40)),
    "documents: too many": lambda ctx: wire.PushDocuments((b"{}",) * 10_000),
    "record: round far ahead": lambda ctx: pushed(ctx, HUGE),
    "record: round below zero": lambda ctx: pushed(ctx, -1),
}
"""May be answered with "no"; must change nothing, and cost little more than was sent."""


def each(requests: dict[str, Make]) -> list[ParameterSet]:
    return [pytest.param(make, id=name) for name, make in requests.items()]


@pytest.fixture
def abandoned(monkeypatch: pytest.MonkeyPatch) -> list[FakeTrainer]:
    """Trainers whose inner steps were thrown away."""
    trainers: list[FakeTrainer] = []

    async def abandon(self: FakeTrainer) -> None:
        trainers.append(self)

    monkeypatch.setattr(FakeTrainer, "abandon", abandon)
    return trainers


async def poke(sim: Simulation, request: Make) -> tuple[SimPeer, int]:
    """Three peers in the middle of training; one is asked something. Returns it, and the bytes it gave."""
    sim.training_s = lambda: 1000.0
    for number in range(3):
        await sim.start(number)
    await asyncio.sleep(10)
    target = sim.peers[0]
    assert target.engine is not None and target.engine.ctx is not None
    given_bytes = 0
    stream = await sim.network.transport(ROGUE.peer_id).open(target.id)
    await stream.send(wire.encode(HELLO))
    await stream.send(wire.encode(request(target.engine.ctx)))
    with suppress(StreamLostError, TimeoutError):
        async with asyncio.timeout(20):
            while True:
                given_bytes += len(await stream.receive(10**9))
    stream.close()
    await asyncio.sleep(5)
    return target, given_bytes


def check_unchanged(target: SimPeer, abandoned: list[FakeTrainer]) -> None:
    assert target.engine is not None and target.engine.ctx is not None and target.task is not None
    moved = (events.AttemptStarted, events.RoundAborted, events.RoundCommitted, events.CaughtUp, events.UpdateLate)
    assert not any(isinstance(event, moved) for event in target.seen)
    assert target.engine.ctx.acceptor.state == AcceptorState(0)
    assert abandoned == [] and not target.task.done()


def refusals(target: SimPeer) -> int:
    return sum(event.peer == ROGUE.peer_id for event in target.of(events.FrameRefused))


@pytest.mark.parametrize("request_of", each(REFUSED))
def test_impossible_numbers_close_the_stream_and_are_counted(request_of: Make, abandoned: list[FakeTrainer]) -> None:
    async def main() -> None:
        sim = Simulation(RUN.charter, seed=1)
        target, _ = await poke(sim, request_of)
        check_unchanged(target, abandoned)
        assert refusals(target) == 1
        await sim.finish()

    run_virtual(main())


@pytest.mark.parametrize("request_of", each(HARMLESS))
def test_useless_requests_change_nothing_and_cost_little(request_of: Make, abandoned: list[FakeTrainer]) -> None:
    async def main() -> None:
        sim = Simulation(RUN.charter, seed=1)
        target, given_bytes = await poke(sim, request_of)
        check_unchanged(target, abandoned)
        assert given_bytes <= 4 * RUN.encoded_bytes(0) + 3000 * 12
        await sim.finish()

    run_virtual(main())


def test_rounds_go_on_after_all_of_it() -> None:
    """Everything at once, against three peers at work."""

    async def main() -> None:
        sim = Simulation(RUN.charter, seed=2, rounds=3)
        for number in range(3):
            await sim.start(number)
        await sim.until_round(1)
        transport = sim.network.transport(ROGUE.peer_id)
        for make in (*REFUSED.values(), *HARMLESS.values()):
            engine = sim.peers[1].engine
            assert engine is not None and engine.ctx is not None
            stream = await transport.open(sim.peers[1].id)
            await stream.send(wire.encode(HELLO))
            await stream.send(wire.encode(make(engine.ctx)))
        await sim.until_round(3)
        sim.check()
        await sim.finish()

    run_virtual(main())
