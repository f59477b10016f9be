"""One state from many donors at once: their rates add up, and liars, the slow and the silent cost what they hold."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from swarm import events
from swarm.clock import monotonic_s
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.net.memory import run_virtual
from swarm.net.tasks import Signal
from swarm.state.donor import BUSY, MAX_NEWCOMERS, TELL_EVERY_S
from swarm.state.download import Download
from swarm.state.partial import Partials, Target
from swarm.state.run import Run
from swarm.state.upload import SHARE, Upload
from swarm.vector.digest import chunk_bytes, state_leaves
from tests.simulation import make_charter, peer_identity
from tests.unit.state.crowd import ME, Answer, Crowd
from tests.unit.state.samples import make_chain

CHUNKS, CHUNK_ELEMENTS = 64, 256
RUN = Run(make_charter(3, elements=CHUNKS * CHUNK_ELEMENTS, chunk_elements=CHUNK_ELEMENTS))
CHAIN = make_chain(RUN, 1)
HEAD = CHAIN[0].after
VECTORS = (HEAD.base_N, *HEAD.outer_VN)
PIECES = len(VECTORS) * CHUNKS
PIECE_BYTES = 4 * CHUNK_ELEMENTS
LEAVES = state_leaves(RUN.grid, HEAD.base_N, HEAD.outer_VN)
TARGET = Target(1, HEAD.state_digest)
FEW = Run(make_charter(3, elements=2 * CHUNK_ELEMENTS, chunk_elements=CHUNK_ELEMENTS))
"""Of few pieces, for donors that take long over each."""
FEW_CHAIN = make_chain(FEW, 1)


class PacedCrowd(Crowd):
    """Every honest donor gives ten pieces a second, or as many as it is told to."""

    def __init__(self) -> None:
        super().__init__(RUN, CHAIN)

    async def add_paced(self, number: int, *, per_s: float = 10.0) -> PeerId:
        return await self.add(number, upload=capped(per_s))


def capped(per_s: float) -> Upload:
    """An uplink in a data phase that never ends, for so many pieces a second."""
    upload = Upload(lambda: round(per_s * 8 * PIECE_BYTES / SHARE))
    upload.see(events.RosterReady(round=2, attempt=1, leader="", peers=(), form_s=0.0))
    return upload


def piece(index: int) -> bytes:
    vector, chunk = divmod(index, CHUNKS)
    return bytes(chunk_bytes(VECTORS[vector][RUN.grid.bounds(chunk)]))


class Asker:
    """Downloads from donors, and knows what it took."""

    def __init__(self, crowd: Crowd, partials: Partials | None = None) -> None:
        self.crowd = crowd
        self.liars: set[PeerId] = set()
        self.download = Download(RUN, crowd.caller(), partials or crowd.partials, TARGET, self.liars, crowd.seen.append)
        self.seconds = 0.0

    async def run(self, donors: Sequence[PeerId]) -> bool:
        """Whether the state came; it is right then, bit by bit."""
        began_s = monotonic_s()
        vectors = await self.download.run(donors)
        self.seconds = monotonic_s() - began_s
        if vectors is None:
            return False
        assert [vector_N.tobytes() for vector_N in vectors] == [vector_N.tobytes() for vector_N in VECTORS]
        return True

    @property
    def received(self) -> int:
        """Pieces, in whole ones."""
        return self.download.received_bytes // PIECE_BYTES


class Count:
    """Who has sent how many whole pieces to the one who asks, from here on."""

    def __init__(self, crowd: Crowd) -> None:
        self.of = Counter[PeerId]()
        self._changed = Signal()
        crowd.network.on_frame = self._on_frame

    def _on_frame(self, source: PeerId, target: PeerId, frame: bytes) -> None:
        if target == ME.peer_id and len(frame) > PIECE_BYTES:
            self.of[source] += 1
            self._changed.fire()

    async def reaches(self, donor: PeerId, pieces: int) -> None:
        while self.of[donor] < pieces:
            await self._changed.wait()


def bending(bend: Answer | None = None, *, every: int = 1) -> Answer:
    """Right leaves; one bit of every so manieth piece is wrong."""

    async def answer(stream: AuditedStream, request: wire.Request) -> bool:
        if not isinstance(request, wire.GetState):
            return False
        await stream.send(wire.StateIs(LEAVES))
        while True:
            for index in request.wanted:
                data = bytearray(piece(index))
                data[17] ^= 4 if index % every == 0 else 0
                await stream.send(wire.StateChunk(index, bytes(data)))
            request = await stream.receive(wire.GetState, wire.MAX_REQUEST_BYTES)

    return answer


async def stop_after_the_leaves(stream: AuditedStream, request: wire.Request) -> bool:
    if not isinstance(request, wire.GetState):
        return False
    await stream.send(wire.StateIs(LEAVES))
    await asyncio.sleep(100_000)
    return True


async def give_without_end(stream: AuditedStream, request: wire.Request) -> bool:
    """A good piece, again and again."""
    if not isinstance(request, wire.GetState):
        return False
    await stream.send(wire.StateIs(LEAVES))
    wanted = (await stream.receive(wire.GetState, wire.MAX_REQUEST_BYTES)).wanted
    while True:
        await stream.send(wire.StateChunk(wanted[0], piece(wanted[0])))


async def one_endless_frame(stream: AuditedStream, request: wire.Request) -> bool:
    if not isinstance(request, wire.GetState):
        return False
    await stream.send(wire.StateIs(LEAVES))
    wanted = (await stream.receive(wire.GetState, wire.MAX_REQUEST_BYTES)).wanted
    await stream.send(wire.StateChunk(wanted[0], bytes(100 * PIECE_BYTES)))
    return True


async def leaves_without_end(stream: AuditedStream, request: wire.Request) -> bool:
    if not isinstance(request, wire.GetState):
        return False
    await stream.send(wire.StateIs(LEAVES * 50))
    return True


def sized(length: int) -> Answer:
    async def answer(stream: AuditedStream, request: wire.Request) -> bool:
        if not isinstance(request, wire.GetState):
            return False
        await stream.send(wire.StateIs(LEAVES))
        wanted = (await stream.receive(wire.GetState, wire.MAX_REQUEST_BYTES)).wanted
        await stream.send(wire.StateChunk(wanted[0], piece(wanted[0])[:length].ljust(length, b"\0")))
        return True

    return answer


async def another_runs_state(stream: AuditedStream, request: wire.Request) -> bool:
    """Consistent in itself: leaves and pieces of a state that this run never had."""
    if not isinstance(request, wire.GetState):
        return False
    foreign = [np.full(RUN.grid.elements, 3.0, np.float32) for _ in VECTORS]
    await stream.send(wire.StateIs(state_leaves(RUN.grid, foreign[0], foreign[1:])))
    return True


def test_the_rates_of_all_donors_add_up() -> None:
    async def main(donors: int) -> float:
        crowd = PacedCrowd()
        asker = Asker(crowd)
        assert await asker.run([await crowd.add_paced(50 + number) for number in range(donors)])
        assert asker.received <= PIECES + 2 * donors
        return asker.seconds

    alone_s = run_virtual(main(1))
    assert alone_s == pytest.approx(PIECES / 10, rel=0.05)
    assert run_virtual(main(4)) == pytest.approx(alone_s / 4, rel=0.15)


def test_work_goes_from_the_slow_to_the_fast() -> None:
    async def main() -> None:
        crowd = PacedCrowd()
        slow, fast = await crowd.add_paced(50, per_s=0.5), await crowd.add_paced(51)
        count = Count(crowd)
        asker = Asker(crowd)
        assert await asker.run([slow, fast])
        assert asker.seconds < 1.1 * PIECES / 10
        assert count.of[fast] > 0.9 * PIECES and count.of[slow] > 0

    run_virtual(main())


@pytest.mark.parametrize("liars", [1, 2])
def test_a_donor_that_corrupts_every_piece_costs_one_piece_and_never_a_wrong_byte(liars: int) -> None:
    async def main() -> None:
        crowd = PacedCrowd()
        bad = [await crowd.add(50 + number, bending()) for number in range(liars)]
        good = [await crowd.add_paced(60 + number) for number in range(2)]
        asker = Asker(crowd)
        assert await asker.run([*bad, *good])
        assert asker.liars == set(bad)
        assert asker.received <= PIECES + liars + 4
        assert asker.seconds < 1.15 * PIECES / 20
        assert all("not what its leaf says" in crowd.lost()[peer] for peer in bad)
        assert [crowd.asked.count(peer) for peer in bad] == [1] * liars  # never asked again

    run_virtual(main())


def test_a_donor_that_lies_now_and_then_is_found_out_and_its_good_pieces_count() -> None:
    async def main() -> None:
        crowd = PacedCrowd()
        bad, good = await crowd.add(50, bending(every=40)), await crowd.add_paced(51)
        asker = Asker(crowd)
        assert await asker.run([bad, good])
        assert asker.liars <= {bad}

    run_virtual(main())


def test_a_silent_donor_does_not_hold_up_the_others() -> None:
    async def main() -> None:
        crowd = PacedCrowd()
        silent, good = await crowd.add(50, stop_after_the_leaves), await crowd.add_paced(51)
        asker = Asker(crowd)
        assert await asker.run([silent, good])
        assert asker.seconds < 1.1 * PIECES / 10
        assert asker.liars == set()

    run_virtual(main())


REFUSED: dict[str, tuple[Answer, str]] = {
    "wrong size: short": (sized(PIECE_BYTES - 4), "not what its leaf says"),
    "wrong size: long": (sized(PIECE_BYTES + 4), "not what its leaf says"),
    "wrong size: none": (sized(0), "not what its leaf says"),
    "wrong digest": (bending(), "not what its leaf says"),
    "endless stream: pieces": (give_without_end, "which it was not asked for"),
    "endless stream: one frame": (one_endless_frame, "bytes where at most"),
    "endless stream: leaves": (leaves_without_end, "bytes where at most"),
    "another run's state": (another_runs_state, "not the one that its quorum signed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_donor_may_not_send_drops_it_and_the_state_comes_from_others(name: str) -> None:
    answer, reason = REFUSED[name]

    async def main() -> None:
        crowd = PacedCrowd()
        bad, good = await crowd.add(50, answer), await crowd.add_paced(51)
        asker = Asker(crowd)
        assert await asker.run([bad, good])
        assert asker.liars == {bad} and reason in crowd.lost()[bad]
        assert asker.received < PIECES + 110
        lonely = Asker(crowd, Partials(RUN, None, crowd.said.append))
        assert not await lonely.run([bad])

    run_virtual(main())


def test_who_is_busy_is_asked_again() -> None:
    async def main() -> None:
        crowd = PacedCrowd()
        until_s = 60.0

        async def busy(stream: AuditedStream, request: wire.Request) -> bool:
            if isinstance(request, wire.GetState) and monotonic_s() < until_s:
                await stream.send(wire.Refusal(BUSY, "later"))
                return True
            return False

        asker = Asker(crowd)
        assert await asker.run([await crowd.add(50, busy)])
        assert until_s < asker.seconds < until_s + 2 * PIECES / 10

    run_virtual(main())


def test_a_donor_that_was_lost_for_a_moment_gives_again() -> None:
    async def main() -> None:
        crowd = PacedCrowd()
        count, donor = Count(crowd), await crowd.add_paced(50)
        asker = Asker(crowd)
        running = asyncio.create_task(asker.run([donor]))
        await count.reaches(donor, 30)
        crowd.network.partition([ME.peer_id], [donor])
        await asyncio.sleep(1.0)
        crowd.network.heal()
        assert await running
        assert asker.received < PIECES + 5  # what had come before counts

    run_virtual(main())


def test_an_interrupted_download_goes_on_where_it_was(tmp_path: Path) -> None:
    """Through the disk, as after SIGKILL: on a real loop, since files are written in threads."""

    async def first() -> int:
        crowd = Crowd(RUN, CHAIN)
        count, donor = Count(crowd), await crowd.add(50)
        partials = Partials(RUN, tmp_path, print)
        running = asyncio.create_task(Asker(crowd, partials).run([donor]))
        await count.reaches(donor, 70)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return len((await partials.open(TARGET)).held)

    async def second() -> tuple[int, int]:
        crowd = Crowd(RUN, CHAIN)
        liar, donor = await crowd.add(51, bending()), await crowd.add(50)
        partials = Partials(RUN, tmp_path, print)
        assert partials.target() == TARGET
        asker = Asker(crowd, partials)
        assert await asker.run([liar, donor])
        progress = [event for event in crowd.seen if isinstance(event, events.StateProgress)]
        assert progress[-1].pieces == progress[-1].pieces_total == PIECES
        return progress[0].pieces, asker.received

    kept = asyncio.run(first())
    assert 20 < kept < PIECES
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[5] ^= 1  # a byte that the disk has changed: that piece is fetched again
    path.write_bytes(data)
    begun, received = asyncio.run(second())
    assert kept - 2 <= begun <= kept - 1  # one piece may have been on its way to the disk
    assert received <= PIECES - begun + 4


def test_progress_is_told_now_and_then() -> None:
    async def main() -> None:
        crowd = PacedCrowd()
        assert await Asker(crowd).run([await crowd.add_paced(50), await crowd.add_paced(51)])
        progress = [event for event in crowd.seen if isinstance(event, events.StateProgress)]
        assert 8 <= len(progress) <= 20
        assert (progress[-1].pieces, progress[-1].bytes_total) == (PIECES, PIECES * PIECE_BYTES)
        middle = progress[len(progress) // 2]
        assert middle.donors == 2 and middle.bytes_per_s == pytest.approx(20 * PIECE_BYTES, rel=0.3)

    run_virtual(main())


def test_nobody_or_only_those_that_do_not_have_it() -> None:
    async def nothing(stream: AuditedStream, request: wire.Request) -> bool:
        await stream.send(wire.Missing())
        return True

    async def main() -> None:
        crowd = PacedCrowd()
        assert not await Asker(crowd).run([])
        assert not await Asker(crowd).run([await crowd.add(50, nothing)])

    run_virtual(main())


def test_a_donor_that_is_only_capped_is_not_taken_for_one_that_stalls() -> None:
    """Every piece waits for 40 s, longer than a donor may be silent, at the only donor there is."""

    async def main() -> None:
        crowd = Crowd(FEW, FEW_CHAIN)
        began_s = monotonic_s()
        head = FEW_CHAIN[0].after
        target, liars = Target(1, head.state_digest), set[PeerId]()
        download = Download(FEW, crowd.caller(), crowd.partials, target, liars, crowd.seen.append)
        vectors = await download.run([await crowd.add(50, upload=capped(1 / 40))])
        assert vectors is not None and vectors[0].tobytes() == head.base_N.tobytes()
        assert monotonic_s() - began_s == pytest.approx(2 * FEW.grid.chunks * 40, rel=0.05)
        assert crowd.lost() == {}

    run_virtual(main())


def test_four_newcomers_of_slow_donors_all_come_to_their_state() -> None:
    """As on links that no round has measured: each of four waits for 33.6 s for a piece."""

    async def main() -> None:
        crowd = Crowd(FEW, FEW_CHAIN)
        donor = await crowd.add(50, upload=capped(per_s=4 / 33.6))
        target, done = Target(1, FEW_CHAIN[0].after.state_digest), list[bool]()

        async def come(number: int) -> None:
            caller, partials = crowd.caller(peer_identity(number)), Partials(FEW, None, crowd.said.append)
            download = Download(FEW, caller, partials, target, set(), crowd.seen.append)
            done.append(await download.run([donor]) is not None)

        await asyncio.gather(*(come(60 + number) for number in range(MAX_NEWCOMERS)))
        assert done == [True] * MAX_NEWCOMERS and crowd.lost() == {}

    run_virtual(main())


async def wait_for_ever(stream: AuditedStream, request: wire.Request) -> bool:
    """The right leaves, and then that it is not yet the newcomer's turn, again and again."""
    if not isinstance(request, wire.GetState):
        return False
    await stream.send(wire.StateIs(LEAVES))
    while True:
        await stream.send(wire.Waiting(0, 0))
        await asyncio.sleep(TELL_EVERY_S)


async def wait_without_a_pause(stream: AuditedStream, request: wire.Request) -> bool:
    if not isinstance(request, wire.GetState):
        return False
    await stream.send(wire.StateIs(LEAVES))
    while True:
        await stream.send(wire.Waiting(0, 0))


@pytest.mark.parametrize("answer", [wait_for_ever, wait_without_a_pause])
def test_who_only_ever_says_that_it_waits_is_left_and_holds_up_nobody(answer: Answer) -> None:
    async def main() -> None:
        crowd = PacedCrowd()
        bad, good = await crowd.add(50, answer), await crowd.add_paced(51)
        asker = Asker(crowd)
        assert await asker.run([bad, good])
        assert asker.seconds < 1.1 * PIECES / 10
        lonely = Asker(crowd, Partials(RUN, None, crowd.said.append))
        assert not await lonely.run([bad])
        assert lonely.seconds < 700 and "gave no piece" in crowd.lost()[bad]

    run_virtual(main())


def test_a_donor_that_says_nothing_is_left_in_time() -> None:
    async def main() -> None:
        crowd = PacedCrowd()
        asker = Asker(crowd)
        assert not await asker.run([await crowd.add(50, stop_after_the_leaves)])
        assert asker.seconds < 35

    run_virtual(main())
