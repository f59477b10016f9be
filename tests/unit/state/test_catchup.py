"""Catching up from donors that lie, stall and vanish: it takes longer, and never a wrong byte is accepted."""

import asyncio
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from swarm import events
from swarm.errors import NetworkError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.net.memory import run_virtual
from swarm.state.fetching import DONOR_LIMIT_S
from swarm.state.partial import Target
from swarm.state.run import Run
from swarm.state.store import KEPT_ROUNDS
from swarm.vector.digest import chunk_bytes, state_leaves
from tests.simulation import peer_identity
from tests.unit.state.crowd import ME, Answer, Crowd, assert_is
from tests.unit.state.samples import make_chain, small_charter, zero_head

RUN = Run(small_charter())
CHAIN = make_chain(RUN, 3)
OTHER_CHAIN = make_chain(RUN, 1, crew=2)


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
    return state_leaves(RUN.grid, CHAIN[2].after.base_N, CHAIN[2].after.outer_VN)


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
        while True:
            for index in request.wanted:
                vector, chunk = divmod(index, RUN.grid.chunks)
                piece = wire.StateChunk(index, vectors[vector][RUN.grid.bounds(chunk)].tobytes())
                await stream.send(change(piece) if index == 2 else piece)
            request = await stream.receive(wire.GetState, wire.MAX_REQUEST_BYTES)

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
        crowd = Crowd(RUN, CHAIN)
        bad, good = await crowd.add(50, liar), await crowd.add(51)
        caught = await crowd.catch_up([bad, good])
        assert_is(caught.head, CHAIN[2].after)
        assert {bad, good} <= set(crowd.asked)
        assert crowd.store.load_record(3) is not None and crowd.store.load_record(1) is not None

    run_virtual(main())


@pytest.mark.parametrize("liar", LIARS.values(), ids=LIARS)
def test_with_bad_donors_alone_no_wrong_state_is_taken(liar: Answer) -> None:
    async def main() -> None:
        crowd = Crowd(RUN, CHAIN)
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
        crowd = Crowd(RUN, CHAIN)
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
        crowd = Crowd(RUN, CHAIN)
        with pytest.raises(NetworkError):
            await crowd.catch_up([])
        with pytest.raises(NetworkError):
            await crowd.catch_up([peer_identity(60).peer_id, ME.peer_id])

    run_virtual(main())


def test_a_few_missed_rounds_are_replayed() -> None:
    async def main() -> None:
        crowd = Crowd(RUN, CHAIN)
        caught = await crowd.catch_up([await crowd.add(50)], CHAIN[0].after)
        assert caught.replayed
        assert_is(caught.head, CHAIN[2].after)

    run_virtual(main())


def test_a_head_that_nobody_is_ahead_of_stays() -> None:
    async def main() -> None:
        crowd = Crowd(RUN, CHAIN)
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

    crowd = Crowd(RUN, CHAIN)

    async def main() -> None:
        donors = [await crowd.add(50, lie), await crowd.add(51)]
        caught = await crowd.catch_up(donors, CHAIN[0].after)
        assert caught.replayed
        assert_is(caught.head, CHAIN[2].after)
        lonely = await crowd.catch_up(donors[:1], CHAIN[0].after)
        assert not lonely.replayed  # the state itself was downloaded instead, and verified
        assert_is(lonely.head, CHAIN[2].after)

    run_virtual(main())


def test_what_a_donor_gave_of_a_round_stays_when_another_goes_on() -> None:
    crowd = Crowd(RUN, CHAIN)

    async def give_one(stream: AuditedStream, request: wire.Request) -> bool:
        if not isinstance(request, wire.GetResults):
            return False
        made, chunk = CHAIN[request.round - 1], request.chunks[0]
        await stream.send(
            wire.ChunkResult(chunk, made.value.contributors[chunk], made.results[chunk]), crowd.permit(stream.remote)
        )
        return True

    async def main() -> None:
        donors = [await crowd.add(50, give_one), await crowd.add(51, give_one), await crowd.add(52)]
        caught = await crowd.catch_up(donors, CHAIN[0].after)
        assert caught.replayed
        assert_is(caught.head, CHAIN[2].after)
        assert caught.bytes_received == sum(len(made.record) for made in CHAIN[1:]) + 2 * RUN.encoded_bytes_total

    run_virtual(main())


def test_a_donor_that_trickles_holds_nobody_up_for_long() -> None:
    """It says it stands furthest, and gives one true record, or one true mean, every nine seconds."""
    chain = make_chain(RUN, 20)

    async def trickle(stream: AuditedStream, request: wire.Request) -> bool:
        match request:
            case wire.GetStatus():
                await stream.send(wire.Status(10**6, bytes(32), 0, ""))
                return True
            case wire.GetRecords(first):
                for made in chain[first - 1 :]:
                    await asyncio.sleep(9)
                    await stream.send(wire.RecordIs(made.record))
                await stream.send(wire.Missing())
                return True
            case _:
                return False

    async def main() -> None:
        crowd = Crowd(RUN, chain)
        donors = [await crowd.add(50, trickle), await crowd.add(51)]
        began_s = asyncio.get_running_loop().time()
        caught = await crowd.catch_up(donors)
        assert_is(caught.head, chain[-1].after)
        # Once for the records, and once to see that nothing newer has come.
        assert asyncio.get_running_loop().time() - began_s < 2 * DONOR_LIMIT_S

    run_virtual(main())


def test_a_state_zero_download_is_checked_against_the_charter() -> None:
    async def main() -> None:
        crowd = Crowd(RUN, CHAIN)

        async def no_records(stream: AuditedStream, request: wire.Request) -> bool:
            if isinstance(request, wire.GetRecords):
                await stream.send(wire.Missing())
                return True
            return False

        caught = await crowd.catch_up([await crowd.add(50, no_records, chain=CHAIN[:1])])
        assert_is(caught.head, zero_head(RUN))

    run_virtual(main())


def test_a_download_that_was_begun_goes_on_though_the_swarm_has_moved_and_the_rest_is_replayed() -> None:
    chain = make_chain(RUN, 4)
    begun = chain[2].after
    pieces = [
        chunk_bytes(vector_N[RUN.grid.bounds(chunk)])
        for vector_N in (begun.base_N, *begun.outer_VN)
        for chunk in range(3)
    ]

    async def main() -> None:
        crowd = Crowd(RUN, chain)
        partial = await crowd.partials.open(Target(3, begun.state_digest))
        for index in range(len(pieces) - 1):
            await crowd.partials.keep(partial, index, pieces[index])
        caught = await crowd.catch_up([await crowd.add(50), await crowd.add(51)])
        assert_is(caught.head, chain[3].after)
        progress = [event for event in crowd.seen if isinstance(event, events.StateProgress)]
        assert {event.round for event in progress} == {3} and progress[0].pieces == len(pieces) - 1
        assert crowd.partials.target() is None
        assert [crowd.store.load_record(number) is not None for number in range(1, 5)] == [True] * 4

    run_virtual(main())


def test_a_begun_download_that_nobody_holds_any_more_or_that_no_record_names_makes_way() -> None:
    async def main() -> None:
        for target in (Target(1, CHAIN[0].after.state_digest), Target(2, bytes(32)), Target(9, bytes(32))):
            crowd = Crowd(RUN, CHAIN)
            partial = await crowd.partials.open(target)
            await crowd.partials.keep(partial, 0, bytes(4 * RUN.grid.length(0)))
            caught = await crowd.catch_up([await crowd.add(50)])
            assert_is(caught.head, CHAIN[2].after)

    run_virtual(main())


@pytest.mark.parametrize("missed", [1, KEPT_ROUNDS, KEPT_ROUNDS + 1])
def test_at_most_so_many_missed_rounds_cost_their_means_and_more_cost_a_state(missed: int) -> None:
    chain = make_chain(RUN, missed + 1)

    async def main() -> None:
        crowd = Crowd(RUN, chain)
        caught = await crowd.catch_up([await crowd.add(50)], chain[0].after)
        assert_is(caught.head, chain[-1].after)
        records = sum(len(made.record) for made in chain[1:])
        state_bytes = 4 * RUN.grid.elements * (1 + RUN.rule.vectors)
        if missed <= KEPT_ROUNDS:
            assert caught.replayed and caught.bytes_received == records + missed * RUN.encoded_bytes_total
        else:
            assert not caught.replayed and caught.bytes_received == records + state_bytes

    run_virtual(main())


@pytest.mark.parametrize("cut_s", [1.0, 6.0, 12.0, 20.0])
def test_an_outage_costs_a_download_nothing_that_it_had(cut_s: float) -> None:
    newest = CHAIN[2].after
    target = Target(3, newest.state_digest)
    pieces = [
        chunk_bytes(vector_N[RUN.grid.bounds(chunk)])
        for vector_N in (newest.base_N, *newest.outer_VN)
        for chunk in range(RUN.grid.chunks)
    ]
    crowd, donors, cuts = Crowd(RUN, CHAIN), list[PeerId](), list[PeerId]()

    async def cut_once(stream: AuditedStream, request: wire.Request) -> bool:
        """Everybody is out of reach for a while once the state has been asked for."""
        if not isinstance(request, wire.GetState) or cuts:
            return False
        cuts.append(stream.remote)
        crowd.network.partition([ME.peer_id], donors)
        asyncio.get_running_loop().call_later(cut_s, crowd.network.heal)
        return True

    async def main() -> None:
        donors.extend([await crowd.add(50, cut_once), await crowd.add(51, cut_once)])
        partial = await crowd.partials.open(target)
        for index in range(len(pieces) - 1):
            await crowd.partials.keep(partial, index, pieces[index])
        for _ in range(10):
            try:
                caught = await crowd.catch_up(donors)
                break
            except NetworkError:
                assert crowd.partials.target() == target
                await asyncio.sleep(1.0)
        else:
            raise AssertionError("never caught up")
        assert_is(caught.head, newest)
        progress = [event for event in crowd.seen if isinstance(event, events.StateProgress)]
        assert {event.round for event in progress} == {3} and progress[0].pieces == len(pieces) - 1

    run_virtual(main())


def test_what_was_begun_makes_way_when_its_donor_is_gone_for_good_and_another_has_an_older_state() -> None:
    async def have_no_newest(stream: AuditedStream, request: wire.Request) -> bool:
        if isinstance(request, wire.GetState) and request.round == 3:
            await stream.send(wire.Missing())
            return True
        return False

    async def give_no_state(stream: AuditedStream, request: wire.Request) -> bool:
        return isinstance(request, wire.GetState)

    async def main() -> None:
        crowd = Crowd(RUN, CHAIN)
        partial = await crowd.partials.open(Target(3, CHAIN[2].after.state_digest))
        await crowd.partials.keep(partial, 0, bytes(4 * RUN.grid.length(0)))
        caught = await crowd.catch_up([await crowd.add(50, give_no_state), await crowd.add(51, have_no_newest)])
        assert_is(caught.head, CHAIN[2].after)  # round 2 was downloaded, and round 3 replayed

    run_virtual(main())


@pytest.mark.parametrize(
    ("liar", "is_asked_again"),
    [
        ("bends a piece", False),
        ("sends a piece far away", False),
        ("swaps leaves", True),
        ("gives too few leaves", True),
    ],
)
def test_who_lied_about_a_piece_is_not_asked_again_and_who_stands_on_another_chain_is(
    liar: str, is_asked_again: bool
) -> None:
    """The second try is of the same process; the wrong leaves of the first may be those of another chain."""

    async def main() -> None:
        times = 0

        async def lie(stream: AuditedStream, request: wire.Request) -> bool:
            nonlocal times
            times += isinstance(request, wire.GetState)
            return await LIARS[liar](stream, request)

        crowd = Crowd(RUN, CHAIN)
        bad, good = await crowd.add(50, lie), await crowd.add(51)
        with pytest.raises(NetworkError):
            await crowd.catch_up([bad])
        first = times
        assert_is((await crowd.catch_up([bad, good])).head, CHAIN[2].after)
        assert (times > first) == is_asked_again

    run_virtual(main())
