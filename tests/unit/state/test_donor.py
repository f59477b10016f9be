"""The giving side: a few newcomers at a time, the state they began with, nothing that is not right to ask for."""

import asyncio
import gc
from dataclasses import dataclass, field, replace

import pytest

from swarm import events
from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.net import wire
from swarm.net.audited import AuditedStream, AuditedTransport
from swarm.net.memory import MemoryNetwork, run_virtual
from swarm.net.transport import Stream, StreamLostError
from swarm.sovereignty.gate import Gate
from swarm.sovereignty.labels import Label
from swarm.sovereignty.ledger import Ledger
from swarm.state.donor import BUSY, HELD_S, HELD_STATES, IDLE_LIMIT_S, MAX_NEWCOMERS, Donor
from swarm.state.head import Head
from swarm.state.run import Run
from swarm.state.store import MemoryStore
from swarm.state.upload import SHARE, Upload, free_upload
from swarm.vector.digest import root_of_state, state_leaf
from tests.simulation import peer_identity
from tests.unit.state.samples import keep, make_chain, make_round, small_charter

RUN = Run(small_charter())
CHAIN = make_chain(RUN, 4)
HEADS = (CHAIN[0].before, *(made.after for made in CHAIN))
PIECES = 2 * RUN.grid.chunks
PLENTY = 10**6
Answer = wire.StateIs | wire.StateChunk | wire.Missing | wire.Refusal


@dataclass
class Booth:
    """A donor on a network whose head is moved by hand; its store keeps the last two snapshots."""

    network: MemoryNetwork = field(default_factory=lambda: MemoryNetwork(2))
    store: MemoryStore = field(default_factory=MemoryStore)
    upload: Upload = field(default_factory=lambda: Upload(lambda: 0))
    head: Head = HEADS[0]
    errors: list[str] = field(default_factory=list[str])

    async def open(self) -> "Booth":
        donor, host = Donor(RUN, self.store, self.upload), peer_identity(0).peer_id
        gate = Gate(region="eu", label=Label.OPEN, min_contributors=1)
        transport = AuditedTransport(self.network.transport(host), Ledger(None, lambda: 0.0), gate.standing)

        async def handle(raw: Stream) -> None:
            stream = AuditedStream(raw, Ledger(None, lambda: 0.0), gate.standing)
            try:
                request = await stream.receive(wire.GetState, PLENTY)
                await donor.give_state(stream, request, self.head)
            except ProtocolError as error:
                self.errors.append(str(error))
            except (StreamLostError, TimeoutError):
                return
            finally:
                stream.close()

        await transport.serve(handle)
        return self

    async def ask(self, number: int, round_number: int, *wanted: int) -> Stream:
        stream = await self.network.transport(peer_identity(number).peer_id).open(peer_identity(0).peer_id)
        await stream.send(wire.encode(wire.GetState(round_number, wanted)))
        return stream

    async def move_to(self, round_number: int) -> None:
        for number in range(self.head.round + 1, round_number + 1):
            await keep(self.store, CHAIN[number - 1])
        self.head = HEADS[round_number]


async def answer(stream: Stream) -> Answer:
    return wire.decode(await stream.receive(PLENTY), Answer)


async def leaves_of(stream: Stream) -> bytes:
    told = await answer(stream)
    assert isinstance(told, wire.StateIs), told
    return root_of_state(told.leaves)


async def pieces_of(stream: Stream, count: int) -> list[int]:
    told = [await answer(stream) for _ in range(count)]
    return [piece.index for piece in told if isinstance(piece, wire.StateChunk)]


def test_pieces_come_in_the_order_asked_for_over_one_stream() -> None:
    async def main() -> None:
        booth = await Booth().open()
        stream = await booth.ask(1, 0, 3, 1)
        assert await leaves_of(stream) == HEADS[0].state_digest
        await stream.send(wire.encode(wire.GetState(0, (0,))))
        assert await pieces_of(stream, 3) == [3, 1, 0]

    run_virtual(main())


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [((PIECES,), "there is no piece"), ((-1,), "there is no piece"), ((1, 1), "twice")],
)
def test_a_wrong_request_ends_the_stream_whether_it_is_the_first_or_a_later_one(
    wanted: tuple[int, ...], reason: str
) -> None:
    async def main() -> None:
        booth = await Booth().open()
        await booth.ask(1, 0, *wanted)
        stream = await booth.ask(2, 0)
        await leaves_of(stream)
        await stream.send(wire.encode(wire.GetState(0, wanted)))
        with pytest.raises(StreamLostError):
            await answer(stream)
        assert len(booth.errors) == 2 and all(reason in error for error in booth.errors)

    run_virtual(main())


def test_a_state_that_nobody_asks_for_any_more_is_let_go() -> None:
    def held() -> int:
        return sum(type(each).__name__ == "_Held" for each in gc.get_objects())

    async def main() -> None:
        gc.collect()
        before = held()
        booth = await Booth().open()
        stream = await booth.ask(1, 0)
        await leaves_of(stream)
        stream.close()
        await asyncio.sleep(HELD_S - 1)
        assert held() == before + 1
        await asyncio.sleep(2)
        assert held() == before

    run_virtual(main())


def test_no_piece_is_given_twice_over_one_stream() -> None:
    async def main() -> None:
        booth = await Booth().open()
        stream = await booth.ask(1, 0, 2)
        await leaves_of(stream)
        assert await pieces_of(stream, 1) == [2]
        await stream.send(wire.encode(wire.GetState(0, (2,))))
        with pytest.raises(StreamLostError):
            await answer(stream)
        assert "twice" in booth.errors[0]

    run_virtual(main())


def test_a_stream_is_of_one_state() -> None:
    async def main() -> None:
        booth = await Booth().open()
        stream = await booth.ask(1, 0)
        await leaves_of(stream)
        await booth.move_to(1)
        await stream.send(wire.encode(wire.GetState(1, (0,))))
        with pytest.raises(StreamLostError):
            await answer(stream)
        assert "another state" in booth.errors[0]

    run_virtual(main())


def test_a_state_that_somebody_downloads_is_kept_however_far_the_head_moves() -> None:
    async def main() -> None:
        booth = await Booth().open()
        first = await booth.ask(1, 0)
        assert await leaves_of(first) == HEADS[0].state_digest
        await booth.move_to(4)
        assert booth.store.load_snapshot(0) is None
        await first.send(wire.encode(wire.GetState(0, (2,))))
        assert await pieces_of(first, 1) == [2]
        first.close()
        await asyncio.sleep(HELD_S - 10)  # killed, and started again: what it had begun is still to be had
        again = await booth.ask(1, 0)
        assert await leaves_of(again) == HEADS[0].state_digest
        again.close()
        await asyncio.sleep(HELD_S + 10)
        assert isinstance(await answer(await booth.ask(1, 0)), wire.Missing)
        assert await leaves_of(await booth.ask(1, 3)) == HEADS[3].state_digest  # from a snapshot on disk

    run_virtual(main())


def test_only_so_many_states_are_held_and_one_that_is_in_use_stays() -> None:
    async def main() -> None:
        booth, streams = await Booth().open(), list[Stream]()
        for number in range(HELD_STATES):
            await booth.move_to(number)
            streams.append(await booth.ask(10 + number, number))
            assert await leaves_of(streams[-1]) == HEADS[number].state_digest
        await booth.move_to(4)
        refused = await answer(await booth.ask(1, 4))
        assert isinstance(refused, wire.Refusal) and refused.code == BUSY
        streams[0].close()
        await asyncio.sleep(1.0)
        assert await leaves_of(await booth.ask(1, 4)) == HEADS[4].state_digest
        assert await leaves_of(await booth.ask(2, 1)) == HEADS[1].state_digest

    run_virtual(main())


def test_newcomers_beyond_the_limit_are_told_to_come_again() -> None:
    async def main() -> None:
        booth = await Booth().open()
        streams = [await booth.ask(number, 0) for number in range(1, MAX_NEWCOMERS + 1)]
        for stream in streams:
            await leaves_of(stream)
        refused = await answer(await booth.ask(50, 0))
        assert isinstance(refused, wire.Refusal) and refused.code == BUSY
        # One that begins anew takes its own place, not another one.
        assert await leaves_of(await booth.ask(1, 0)) == HEADS[0].state_digest
        with pytest.raises(StreamLostError):
            await answer(streams[0])
        streams[1].close()
        await asyncio.sleep(1.0)
        assert await leaves_of(await booth.ask(50, 0)) == HEADS[0].state_digest
        await asyncio.sleep(IDLE_LIMIT_S + 1)  # all of them have said nothing for too long
        assert await leaves_of(await booth.ask(51, 0)) == HEADS[0].state_digest

    run_virtual(main())


def test_pieces_wait_while_a_round_is_in_its_data_phase() -> None:
    async def main() -> None:
        piece_bytes = 4 * RUN.grid.chunk_elements
        booth = await Booth(upload=Upload(lambda: round(8 * piece_bytes / SHARE))).open()  # a piece a second then
        booth.upload.see(events.RosterReady(round=1, attempt=1, leader="", peers=(), form_s=0.0))
        stream = await booth.ask(1, 0, 0, 1)
        await leaves_of(stream)
        began_s = monotonic_s()
        assert await pieces_of(stream, 2) == [0, 1]
        assert monotonic_s() - began_s == pytest.approx(2.0, abs=0.1)

    run_virtual(main())


def test_a_state_is_hashed_chunk_by_chunk_with_turns_for_others_between() -> None:
    async def main() -> tuple[int, bytes]:
        hashing = Donor(RUN, MemoryStore(), free_upload())._read(1, replace(HEADS[1], leaves=()))
        turns = 0
        with pytest.raises(StopIteration) as ended:
            while True:
                hashing.send(None)
                turns += 1
        return turns, root_of_state(ended.value.value.leaves)

    assert run_virtual(main()) == (PIECES, HEADS[1].state_digest)


def test_newcomers_that_come_together_cost_one_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = 0

    def counted(vector: int, chunk: int, data: memoryview) -> bytes:
        nonlocal hashed
        hashed += 1
        return state_leaf(vector, chunk, data)

    monkeypatch.setattr("swarm.state.donor.state_leaf", counted)

    async def main() -> None:
        booth = await Booth(head=replace(HEADS[1], leaves=())).open()
        streams = [await booth.ask(number, 1) for number in range(1, MAX_NEWCOMERS + 1)]
        for stream in streams:
            assert await leaves_of(stream) == HEADS[1].state_digest

    run_virtual(main())
    assert hashed == PIECES


@pytest.mark.parametrize("is_further", [False, True])
def test_after_a_change_of_chains_the_state_given_is_the_new_chains(is_further: bool) -> None:
    """Whether the head has the round that is asked for, or a snapshot; the abandoned state is held all the while."""

    async def main() -> None:
        booth = await Booth().open()
        await booth.move_to(2)
        earlier = await booth.ask(1, 2, 0)
        assert await leaves_of(earlier) == HEADS[2].state_digest
        crew = [peer_identity(number) for number in range(3)]
        other = await make_round(RUN, HEADS[1], crew, seed=100)
        further = await make_round(RUN, other.after, crew, seed=101)
        await keep(booth.store, other)
        await keep(booth.store, further)
        booth.head = further.after if is_further else other.after
        assert other.after.state_digest != HEADS[2].state_digest
        assert await leaves_of(await booth.ask(2, 2)) == other.after.state_digest
        assert await pieces_of(earlier, 1) == [0]  # what was begun goes on

    run_virtual(main())


def test_a_snapshot_that_is_not_what_its_record_says_is_not_given() -> None:
    async def main() -> None:
        booth = await Booth().open()
        await booth.move_to(2)
        await booth.store.save_snapshot(1, (HEADS[2].base_N, *HEADS[2].outer_VN))
        assert isinstance(await answer(await booth.ask(1, 1)), wire.Missing)
        await booth.store.save_snapshot(1, (HEADS[1].base_N, *HEADS[1].outer_VN))
        booth.store.set_aside_record(1)
        assert isinstance(await answer(await booth.ask(1, 1)), wire.Missing)

    run_virtual(main())
