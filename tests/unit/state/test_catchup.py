"""Catching up from donors that lie, stall and vanish: it takes longer, and never a wrong byte is accepted."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import numpy as np
import pytest

from swarm.charter import passport as passports
from swarm.charter.passport import Passport, issue
from swarm.errors import NetworkError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream, AuditedTransport
from swarm.net.calls import Caller
from swarm.net.memory import Link, MemoryNetwork, run_virtual
from swarm.net.server import Server
from swarm.sovereignty.gate import Gate
from swarm.sovereignty.labels import Label
from swarm.sovereignty.ledger import Ledger
from swarm.state.archive import Archive
from swarm.state.catchup import CatchUp, CaughtUp
from swarm.state.donor import Donor
from swarm.state.head import Head
from swarm.state.run import Run
from swarm.state.store import MemoryStore
from tests.simulation import CREATED_S, MEMBER_KEYS, peer_identity
from tests.unit.state.samples import MadeRound, keep, make_chain, small_charter, zero_head

RUN = Run(small_charter())
CHAIN = make_chain(RUN, 3)
OTHER_CHAIN = make_chain(RUN, 1, crew=2)
ME = peer_identity(40)

Answer = Callable[[AuditedStream, wire.Request], Awaitable[bool]]
"""Handles a request in a bad donor's way and says True, or leaves it to the honest code."""


class Crowd:
    """Donors on one network, each honest unless it is given an answer of its own."""

    def __init__(self) -> None:
        self.network = MemoryNetwork(1, Link(bytes_per_s=20e6))
        self.said: list[str] = []
        self.asked: list[PeerId] = []
        self.store = MemoryStore()
        self._gate = Gate(region="eu", label=Label.OPEN, min_contributors=1)

    def audited(self, identity: Identity) -> AuditedTransport:
        transport = self.network.transport(identity.peer_id)
        return AuditedTransport(transport, Ledger(None, lambda: 0.0), self._gate.standing)

    async def add(self, number: int, answer: Answer | None = None, *, chain: Sequence[MadeRound] = CHAIN) -> PeerId:
        identity = peer_identity(number)
        store = MemoryStore()
        await store.save_snapshot(0, (chain[0].before.base_N, *chain[0].before.outer_VN))
        for made in chain:
            await keep(store, made)
        donor, archive, head = Donor(RUN, store), Archive(RUN, store), chain[-1].after

        async def dispatch(stream: AuditedStream, request: wire.Request, _: Passport) -> None:
            self.asked.append(identity.peer_id)
            if answer is not None and await answer(stream, request):
                return
            match request:
                case wire.GetRecords():
                    await donor.give_records(stream, request)
                case wire.GetState():
                    await donor.give_state(stream, request, head)
                case wire.GetResults(round_number, digest, chunks):
                    value = chain[round_number - 1].value
                    for chunk in chunks:
                        data = archive.result(value, digest, chunk)
                        assert data is not None
                        result = wire.ChunkResult(chunk, value.contributors[chunk], data)
                        await stream.send(result, self.permit(stream.remote))
                case _:
                    raise AssertionError(request)

        transport = self.audited(identity)
        server = Server(
            transport=transport,
            charter=RUN.charter,
            run_id=RUN.id,
            charter_bytes=b"",
            dispatch=dispatch,
            sink=lambda event: None,
            wall_clock=lambda: CREATED_S + 1000.0,
        )
        await transport.serve(server.handle)
        return identity.peer_id

    def permit(self, peer: PeerId):
        return self._gate.check_aggregate(members=1, recipient=peer, recipient_region="eu")

    async def catch_up(self, donors: Sequence[PeerId], head: Head | None = None) -> CaughtUp:
        passport = issue(MEMBER_KEYS[4], RUN.charter, ME.peer_id, "DE", CREATED_S + 10**7, CREATED_S)
        caller = Caller(self.audited(ME), wire.Hello(RUN.id, passports.encode(passport)))
        return await CatchUp(RUN, self.store, caller, donors, self.said.append).run(head)


def assert_is(head: Head, wanted: Head) -> None:
    assert (head.round, head.record_digest, head.state_digest, head.electorate) == (
        wanted.round,
        wanted.record_digest,
        wanted.state_digest,
        wanted.electorate,
    )
    for one, other in zip((head.base_N, *head.outer_VN), (wanted.base_N, *wanted.outer_VN), strict=True):
        assert one.tobytes() == other.tobytes()


async def stall(stream: AuditedStream, request: wire.Request) -> bool:
    await asyncio.sleep(10_000)
    return True


async def vanish(stream: AuditedStream, request: wire.Request) -> bool:
    return True


async def have_nothing(stream: AuditedStream, request: wire.Request) -> bool:
    await stream.send(wire.Missing())
    return True


async def talk_nonsense(stream: AuditedStream, request: wire.Request) -> bool:
    await stream.send(wire.Status(2**63, b"", -1, ""))
    return True


async def refuse(stream: AuditedStream, request: wire.Request) -> bool:
    await stream.send(wire.Refusal("joining", "no"))
    return True


async def forge_records(stream: AuditedStream, request: wire.Request) -> bool:
    """A record that the donor alone has voted for."""
    if not isinstance(request, wire.GetRecords):
        return False
    await stream.send(wire.RecordIs(OTHER_CHAIN[0].record[:-1]))
    return True


async def stop_after_one_record(stream: AuditedStream, request: wire.Request) -> bool:
    if not isinstance(request, wire.GetRecords):
        return False
    if request.first == 1:
        await stream.send(wire.RecordIs(CHAIN[0].record))
    return True


async def repeat_records(stream: AuditedStream, request: wire.Request) -> bool:
    if not isinstance(request, wire.GetRecords):
        return False
    for _ in range(3):
        await stream.send(wire.RecordIs(CHAIN[0].record))
    return True


def _leaves() -> tuple[bytes, ...]:
    donor = Donor(RUN, MemoryStore())
    found = donor._find(3, CHAIN[2].after)
    assert found is not None
    return found[1]


async def lie_about_leaves(stream: AuditedStream, request: wire.Request) -> bool:
    if not isinstance(request, wire.GetState):
        return False
    leaves = _leaves()
    await stream.send(wire.StateIs((leaves[1], leaves[0], *leaves[2:])))
    return True


async def give_too_few_leaves(stream: AuditedStream, request: wire.Request) -> bool:
    if not isinstance(request, wire.GetState):
        return False
    await stream.send(wire.StateIs(_leaves()[:-1]))
    return True


def wrong_piece(change: Callable[[wire.StateChunk], wire.StateChunk]) -> Answer:
    """Right leaves, and the third piece bent."""

    async def answer(stream: AuditedStream, request: wire.Request) -> bool:
        if not isinstance(request, wire.GetState) or request.round != 3:
            return False
        head = CHAIN[2].after
        vectors = (head.base_N, *head.outer_VN)
        await stream.send(wire.StateIs(_leaves()))
        for index in request.wanted:
            vector, chunk = divmod(index, RUN.grid.chunks)
            piece = wire.StateChunk(index, vectors[vector][RUN.grid.bounds(chunk)].tobytes())
            await stream.send(change(piece) if index == 2 else piece)
        return True

    return answer


def replaced(field: str, value: Callable[[wire.StateChunk], object]) -> Answer:
    return wrong_piece(lambda piece: msgspec.structs.replace(piece, **{field: value(piece)}))


LIARS: dict[str, Answer] = {
    "stalls": stall,
    "vanishes": vanish,
    "has nothing": have_nothing,
    "talks nonsense": talk_nonsense,
    "refuses": refuse,
    "forges records": forge_records,
    "stops after one record": stop_after_one_record,
    "repeats a record": repeat_records,
    "swaps leaves": lie_about_leaves,
    "gives too few leaves": give_too_few_leaves,
    "bends a piece": replaced("data", lambda piece: bytes([piece.data[0] ^ 1]) + piece.data[1:]),
    "shortens a piece": replaced("data", lambda piece: piece.data[:-4]),
    "sends another piece": replaced("index", lambda piece: piece.index + 1),
    "sends a piece far away": replaced("index", lambda piece: 2**63),
    "sends a NaN": replaced("data", lambda piece: np.full(len(piece.data) // 4, np.nan, "<f4").tobytes()),
}


@pytest.mark.parametrize("liar", LIARS.values(), ids=LIARS)
def test_with_one_bad_donor_first_the_right_state_comes_from_the_other(liar: Answer) -> None:
    async def main() -> None:
        crowd = Crowd()
        bad, good = await crowd.add(50, liar), await crowd.add(51)
        caught = await crowd.catch_up([bad, good])
        assert_is(caught.head, CHAIN[2].after)
        assert {bad, good} <= set(crowd.asked)
        assert crowd.store.load_record(3) is not None and crowd.store.load_record(1) is not None

    run_virtual(main())


@pytest.mark.parametrize("liar", LIARS.values(), ids=LIARS)
def test_with_bad_donors_alone_no_wrong_state_is_taken(liar: Answer) -> None:
    async def main() -> None:
        crowd = Crowd()
        donors = [await crowd.add(50 + number, liar) for number in range(2)]
        try:
            caught = await crowd.catch_up(donors)
        except NetworkError:
            assert list(crowd.store.snapshots()) == []
            return
        right = {made.after.round: made.after for made in CHAIN} | {0: CHAIN[0].before}
        assert_is(caught.head, right[caught.head.round])

    run_virtual(main())


def test_a_donor_that_dies_in_the_middle_is_replaced_by_the_next() -> None:
    async def main() -> None:
        crowd = Crowd()
        first, second = await crowd.add(50), await crowd.add(51)
        sent = 0

        def die_at_the_sixth_frame(source: PeerId, target: PeerId) -> None:
            nonlocal sent
            sent += source == first
            if sent == 6 and crowd.network.is_alive(first):
                crowd.network.kill(first)

        crowd.network.on_send = die_at_the_sixth_frame
        caught = await crowd.catch_up([first, second])
        assert_is(caught.head, CHAIN[2].after)

    run_virtual(main())


def test_nobody_to_ask_is_a_network_error() -> None:
    async def main() -> None:
        crowd = Crowd()
        with pytest.raises(NetworkError):
            await crowd.catch_up([])
        with pytest.raises(NetworkError):
            await crowd.catch_up([peer_identity(60).peer_id, ME.peer_id])

    run_virtual(main())


def test_a_few_missed_rounds_are_replayed() -> None:
    async def main() -> None:
        crowd = Crowd()
        caught = await crowd.catch_up([await crowd.add(50)], CHAIN[0].after)
        assert caught.replayed
        assert_is(caught.head, CHAIN[2].after)

    run_virtual(main())


def test_a_head_that_nobody_is_ahead_of_stays() -> None:
    async def main() -> None:
        crowd = Crowd()
        caught = await crowd.catch_up([await crowd.add(50)], CHAIN[2].after)
        assert caught.head is CHAIN[2].after or caught.head == CHAIN[2].after
        assert caught.bytes_received == 0

    run_virtual(main())


@pytest.mark.parametrize("change", ["data", "contributors", "length"])
def test_results_that_nobody_signed_are_not_replayed(change: str) -> None:
    async def lie(stream: AuditedStream, request: wire.Request) -> bool:
        if not isinstance(request, wire.GetResults):
            return False
        made = CHAIN[request.round - 1]
        for chunk in request.chunks:
            data, who = made.results[chunk], made.value.contributors[chunk]
            if change == "data":
                data = bytes([data[0] ^ 1]) + data[1:]
            elif change == "contributors":
                who = b"\x01"
            else:
                data = data[:-1]
            await stream.send(wire.ChunkResult(chunk, who, data), crowd.permit(stream.remote))
        return True

    crowd = Crowd()

    async def main() -> None:
        donors = [await crowd.add(50, lie), await crowd.add(51)]
        caught = await crowd.catch_up(donors, CHAIN[0].after)
        assert caught.replayed
        assert_is(caught.head, CHAIN[2].after)
        lonely = await crowd.catch_up(donors[:1], CHAIN[0].after)
        assert not lonely.replayed  # the state itself was downloaded instead, and verified
        assert_is(lonely.head, CHAIN[2].after)

    run_virtual(main())


def test_a_state_zero_download_is_checked_against_the_charter() -> None:
    async def main() -> None:
        crowd = Crowd()

        async def no_records(stream: AuditedStream, request: wire.Request) -> bool:
            if isinstance(request, wire.GetRecords):
                await stream.send(wire.Missing())
                return True
            return False

        caught = await crowd.catch_up([await crowd.add(50, no_records, chain=CHAIN[:1])])
        assert_is(caught.head, zero_head(RUN))

    run_virtual(main())
