"""What one admitted peer may do wrong in a round, on purpose: each refused or outlived, counted, seen in the events.

Four peers, one of them rogue. The others commit round after round, hold the same base, and the rogue's update is in
none of what they commit while it misbehaves.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import numpy as np
import pytest

from swarm import events
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.net.memory import run_virtual
from swarm.node.work import Update
from swarm.round import climb as climbing
from swarm.round.attempt import Attempt
from swarm.round.deadlines import Phase
from swarm.state.head import Head
from tests.chaos.test_rogue_voices import Rogue, ctx_of, until
from tests.memo import memoised
from tests.simulation import CREATED_S, FakeTrainer, SimPeer, Simulation, make_charter, peer_identity

ROGUE = 3
HONEST = (0, 1, 2)
Misdeed = Callable[[Attempt, AuditedStream, Sequence[int]], Awaitable[None]]


def body(attempt: Attempt, chunk: int) -> bytearray:
    return bytearray(attempt.delivery.encode_part(chunk))


async def send(attempt: Attempt, stream: AuditedStream, chunk: int, data: bytes) -> None:
    contribution = attempt.delivery.contribution
    assert contribution is not None
    await stream.send(wire.Part(chunk, memoryview(data)), contribution.permit)


def with_data(change: Callable[[bytearray], bytes | bytearray]) -> Misdeed:
    """Sends its first part changed."""

    async def misdeed(attempt: Attempt, stream: AuditedStream, chunks: Sequence[int]) -> None:
        await send(attempt, stream, chunks[0], bytes(change(body(attempt, chunks[0]))))

    return misdeed


def first_scale(bits: int) -> Callable[[bytearray], bytearray]:
    """The scale of the first block replaced (little-endian bfloat16)."""

    def change(data: bytearray) -> bytearray:
        data[:2] = bits.to_bytes(2, "little")
        return data

    return change


def first_float(value: float) -> Callable[[bytearray], bytearray]:
    def change(data: bytearray) -> bytearray:
        data[:4] = np.float32(value).tobytes()
        return data

    return change


def first_bfloat16(bits: int) -> Callable[[bytearray], bytearray]:
    return first_scale(bits)


def loud(attempt: Attempt, chunk: int) -> bytes:
    """A well-formed part far above the norm bound."""
    length = attempt.run.grid.length(chunk)
    return attempt.run.codec.encode(np.full(length, 3 * attempt.run.charter.reduce.max_rms, np.float32))


async def too_loud(attempt: Attempt, stream: AuditedStream, chunks: Sequence[int]) -> None:
    await send(attempt, stream, chunks[0], loud(attempt, chunks[0]))


async def same_chunk_twice(attempt: Attempt, stream: AuditedStream, chunks: Sequence[int]) -> None:
    for _ in range(2):
        await send(attempt, stream, chunks[0], bytes(body(attempt, chunks[0])))


async def chunk_that_is_not_there(attempt: Attempt, stream: AuditedStream, chunks: Sequence[int]) -> None:
    await send(attempt, stream, 10**6, bytes(body(attempt, chunks[0])))


async def a_sum_for_others(attempt: Attempt, stream: AuditedStream, chunks: Sequence[int]) -> None:
    """Claims to speak for everybody: all their weight for its own numbers."""
    everyone = attempt.roster.bitmap(range(len(attempt.roster.seats)))
    permit = attempt.permit(everyone, stream.remote)
    await stream.send(wire.Sum(chunks[0], everyone, memoryview(body(attempt, chunks[0]))), permit)  # pyright: ignore


NAN_BF16, INF_BF16, SCALE_1E38_BF16 = 0x7FC0, 0x7F80, 0x7E96
NOT_FINITE = "not finite or out of range"
SCALE = "a scale that is negative, not finite or out of range"
REFUSED: dict[str, tuple[str, Misdeed, str]] = {
    "wrong part size: short": ("int8", with_data(lambda data: data[:-1]), "bytes where"),
    "wrong part size: long": ("int8", with_data(lambda data: data + b"\0"), "bytes where"),
    "wrong part size: none": ("int8", with_data(lambda data: b""), "bytes where"),
    "NaN, float32": ("float32", with_data(first_float(float("nan"))), NOT_FINITE),
    "infinity, float32": ("float32", with_data(first_float(float("-inf"))), NOT_FINITE),
    "NaN, bfloat16": ("bfloat16", with_data(first_bfloat16(NAN_BF16)), NOT_FINITE),
    "infinity, bfloat16": ("bfloat16", with_data(first_bfloat16(INF_BF16)), NOT_FINITE),
    "zero scale, codes": ("int8", with_data(first_scale(0)), "scale zero whose codes are not zero"),
    "zero scale, codes, int4": ("int4", with_data(first_scale(0)), "scale zero whose codes are not zero"),
    "scale of 1e38": ("int8", with_data(first_scale(SCALE_1E38_BF16)), SCALE),
    "scale of 1e38, int4": ("int4", with_data(first_scale(SCALE_1E38_BF16)), SCALE),
    "scale of NaN": ("int8", with_data(first_scale(NAN_BF16)), SCALE),
    "above the norm bound": ("int8", too_loud, "norm bound"),
    "above the norm bound, float32": ("float32", too_loud, "norm bound"),
    "the same chunk twice": ("int8", same_chunk_twice, "does not exist or was sent before"),
    "a chunk that is not there": ("int8", chunk_that_is_not_there, "does not exist or was sent before"),
    "a sum for others": ("int8", a_sum_for_others, "peers that its sender does not speak for"),
}


def test_the_scale_in_the_table_is_what_it_says() -> None:
    assert np.uint32(SCALE_1E38_BF16 << 16).view(np.float32) == pytest.approx(1e38, rel=0.01)


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_not_be_sent_is_refused_and_the_round_goes_on_without_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, misdeed, reason = REFUSED[name]
    honest = climbing._send_parts
    rogue = peer_identity(ROGUE).peer_id

    async def send_parts(attempt: Attempt, stream: AuditedStream, chunks: Sequence[int]) -> None:
        if attempt.roster.peers[attempt.seat] == rogue and chunks and attempt.delivery.contribution is not None:
            await misdeed(attempt, stream, chunks)
            await asyncio.sleep(1000)
        await honest(attempt, stream, chunks)

    monkeypatch.setattr(climbing, "_send_parts", send_parts)

    async def main() -> None:
        sim = await four(codec)
        await sim.until_round(4, *HONEST, within_s=120)
        refused = [event for number in HONEST for event in sim.peers[number].of(events.FrameRefused)]
        assert refused and {event.peer for event in refused} == {rogue}
        assert all(reason in event.reason for event in refused), {event.reason for event in refused}
        lost = [event for number in HONEST for event in sim.peers[number].of(events.PeerLost)]
        assert any(event.peer == rogue and event.role == "sender" for event in lost)
        await check_without_rogue(sim)

    with memoised():
        run_virtual(main())


async def four(codec: str = "int8") -> Simulation:
    sim = Simulation(make_charter(4, codec=codec, chunk_elements=150, ceiling_s=10.0), seed=1)
    for number in (*HONEST, ROGUE):
        await sim.start(number)
    return sim


async def check_without_rogue(sim: Simulation, *, least: int = 4) -> None:
    """The rounds hold the honest peers' updates and, of the rogue, only what its own chunks had."""
    rogue = peer_identity(ROGUE).peer_id
    led_by_others = 0
    for number in range(1, least + 1):
        decided = sim.decided(0, number)
        roster, value = decided.roster, decided.value
        if roster.ballot.leader == rogue:
            continue  # whose lanes were closed, and who proposes what it made by itself: others' parts are kept
        led_by_others += 1
        honest = {roster.index[peer_identity(n).peer_id] for n in HONEST if peer_identity(n).peer_id in roster.index}
        with_rogue = [b for b in value.contributors if rogue in {roster.peers[seat] for seat in roster.contributors(b)}]
        assert len(with_rogue) < len(value.contributors)
        assert any(honest <= set(roster.contributors(bitmap)) for bitmap in value.contributors)
    assert led_by_others >= 2
    await sim.finish()
    sim.check()


# --- silence ----------------------------------------------------------------------------------------------------------


def test_a_peer_that_joins_and_gives_nothing_for_ever_costs_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    honest, rogue = climbing._send_parts, peer_identity(ROGUE).peer_id

    async def send_parts(attempt: Attempt, stream: AuditedStream, chunks: Sequence[int]) -> None:
        if attempt.roster.peers[attempt.seat] == rogue:
            await asyncio.sleep(10_000)
        await honest(attempt, stream, chunks)

    monkeypatch.setattr(climbing, "_send_parts", send_parts)

    async def main() -> None:
        sim = await four()
        await sim.until_round(3, *HONEST, within_s=120)
        late = [event for number in HONEST for event in sim.peers[number].of(events.PeerLost)]
        assert {event.peer for event in late if "did not come within" in event.reason} == {rogue}
        for number in HONEST:
            limit_s = ctx_of(sim, number).limit_s(Phase.REDUCE, 1)
            assert all(e.reduce_s <= 2 * limit_s + 1 for e in sim.peers[number].of(events.Reduced) if e.round > 1)
        await check_without_rogue(sim, least=3)

    with memoised():
        run_virtual(main())


def test_a_peer_that_announces_itself_and_never_comes_costs_a_deadline() -> None:
    async def main() -> None:
        sim = Simulation(make_charter(3), seed=1)
        sim.training_s = lambda: 1.0
        for number in HONEST:
            await sim.start(number)
        await sim.until_round(5)
        stop, rogue = asyncio.Event(), Rogue(sim)
        absent = peer_identity(5)

        async def announce() -> None:
            while not stop.is_set():
                entry = wire.Announcement(
                    run_id=sim.run_info.id,
                    peer=absent.peer_id,
                    region="eu",
                    passport=rogue.passport,
                    addresses=(),
                    round=max(map(sim.committed, HONEST)) + 1,
                    tokens=1,
                    tokens_per_s=1.0,
                    phase="ready",
                    at=CREATED_S + 1000 + asyncio.get_running_loop().time(),
                    dialable=True,
                    relays=(),
                )
                sealed = wire.encode_sealed(wire.seal(absent, entry))
                sim.directory.put(absent.peer_id, sealed, 30.0)
                await asyncio.sleep(0.1)

        announcing = asyncio.create_task(announce())
        began = max(map(sim.committed, HONEST))
        await sim.until_round(began + 5, within_s=60)
        deadline_s = max(ctx_of(sim, number).limit_s(Phase.JOIN, 1) for number in HONEST)
        for number in HONEST:
            seconds = [e.seconds for e in sim.peers[number].of(events.RoundCommitted) if e.round > began]
            assert max(seconds) <= 2 * 0.5 + deadline_s + 2.0, seconds  # two probes a second apart end the wait
            assert not sim.peers[number].of(events.RoundAborted)
        stop.set()
        await announcing
        await sim.finish()
        sim.check()

    with memoised():
        run_virtual(main())


def test_a_peer_that_joins_twice_has_one_seat() -> None:
    async def main() -> None:
        sim = Simulation(make_charter(3), seed=1)
        for number in HONEST:
            await sim.start(number)
        await sim.until_round(2)
        rogue = Rogue(sim)
        while not any(rogue_is_in(peer) for peer in sim.peers.values()):
            ctx = ctx_of(sim, 0)
            leader = next(n for n in HONEST if sim.peers[n].id == ctx.ballot(1).leader)
            join = rogue.join(ctx, ctx.ballot(1))
            for _ in range(2):
                await rogue.send(leader, join)
            await asyncio.sleep(0.2)
            assert sim.committed(0) < 50
        rosters = [event.peers for peer in sim.peers.values() for event in peer.of(events.RosterReady)]
        assert all(peers.count(peer_identity(5).peer_id) <= 1 for peers in rosters)
        await sim.until_round(max(map(sim.committed, HONEST)) + 3, within_s=120)
        await sim.finish()
        sim.check()

    def rogue_is_in(peer: SimPeer) -> bool:
        return any(peer_identity(5).peer_id in event.peers for event in peer.of(events.RosterReady))

    with memoised():
        run_virtual(main())


def test_frames_of_another_round_change_nothing() -> None:
    """A lane for a round far ahead is refused and counted; one for a round that is over is closed."""

    async def main() -> None:
        sim = Simulation(make_charter(3), seed=1)
        for number in HONEST:
            await sim.start(number)
        await sim.until_round(3)
        rogue, ctx = Rogue(sim), ctx_of(sim, 0)
        await rogue.send(0, wire.OpenReduce(ctx.round + 5, ctx.ballot(1)))
        await until(lambda: bool(sim.peers[0].of(events.FrameRefused)))
        assert "not near" in sim.peers[0].of(events.FrameRefused)[-1].reason
        over = await rogue.send(0, wire.OpenReduce(1, ctx.ballot(1)))
        await over.send(wire.encode(wire.Part(0, memoryview(bytes(100)))))
        outside = await rogue.send(1, wire.OpenReduce(ctx_of(sim, 1).round, ctx_of(sim, 1).ballot(1)))
        await outside.send(wire.encode(wire.Part(0, memoryview(bytes(100)))))
        await sim.until_round(max(map(sim.committed, HONEST)) + 3, within_s=60)
        for number in range(1, 4):
            assert peer_identity(5).peer_id not in sim.decided(0, number).roster.peers
        await sim.finish()
        sim.check()

    with memoised():
        run_virtual(main())


# --- an update that diverged, a claim of weight -----------------------------------------------------------------------


@pytest.mark.parametrize(("value", "code"), [(np.nan, "out_of_range"), (np.inf, "out_of_range"), (1e6, "norm_bound")])
def test_an_update_that_diverged_stops_at_its_own_gate(
    value: float, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And once it gives sound updates again they are in: nothing of the bad ones is carried on."""
    honest, rogues = FakeTrainer._train, list[FakeTrainer]()

    async def train(self: FakeTrainer, head: Head, future: "asyncio.Future[Update]") -> None:
        await honest(self, head, future)
        if self in rogues and head.round < 3:
            future.result().update_N[7] = value

    made = FakeTrainer.__init__

    def init(self: FakeTrainer, seed: int, seconds: Callable[[], float]) -> None:
        made(self, seed, seconds)
        if seed == ROGUE:
            rogues.append(self)

    monkeypatch.setattr(FakeTrainer, "__init__", init)
    monkeypatch.setattr(FakeTrainer, "_train", train)

    async def main() -> None:
        sim = await four()
        await sim.until_round(8, within_s=120)
        denied = sim.peers[ROGUE].of(events.UpdateDenied)
        assert denied and {event.code for event in denied} == {code}
        rogue = peer_identity(ROGUE).peer_id
        counted = {e.round for e in sim.peers[0].of(events.RoundCommitted) if rogue in e.contributors}
        assert counted and min(counted) > max(event.round for event in denied)
        assert not any(sim.peers[number].of(events.FrameRefused) for number in HONEST)
        await sim.finish()
        sim.check()

    with memoised():
        run_virtual(main())


@pytest.mark.parametrize("policy", ["uniform", "tokens"])
def test_a_claim_of_a_thousand_million_tokens_buys_no_more_than_the_cap(
    policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = FakeTrainer._train

    async def train(self: FakeTrainer, head: Head, future: "asyncio.Future[Update]") -> None:
        await honest(self, head, future)
        if self._seconds() == 0.25:
            object.__setattr__(future.result(), "tokens", 10**9)

    monkeypatch.setattr(FakeTrainer, "_train", train)

    async def main() -> None:
        charter = make_charter(4)
        weights = msgspec.structs.replace(charter.weights, policy=policy, cap_percent=40)
        sim = Simulation(msgspec.structs.replace(charter, weights=weights), seed=1)
        for number in HONEST:
            await sim.start(number)
        await sim.start(ROGUE, training_s=lambda: 0.25)
        await sim.until_round(3)
        decided = sim.decided(0, 3)
        mine = decided.roster.index[peer_identity(ROGUE).peer_id]
        claims = [seat.tokens for seat in decided.roster.seats]
        assert claims[mine] == 10**9 and sum(claims) < 10**9 + 10_000
        share = decided.value.weights[mine] / sum(decided.value.weights)
        assert share == 0.25 if policy == "uniform" else share <= 0.4
        await sim.finish()
        sim.check()

    with memoised():
        run_virtual(main())
