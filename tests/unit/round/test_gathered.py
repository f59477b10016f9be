"""The results one peer has: the first of each chunk, whole and decoded, told once to everyone who asked."""

import asyncio

import numpy as np
import pytest

from swarm.errors import ProtocolError
from swarm.net.wire import ChunkResult
from swarm.round.gathered import Gathered, check_asked
from swarm.state.roster import result_digest
from swarm.vector.recycle import Recycler
from tests.unit.round.crew import RUN, roster_of

ROSTER = roster_of((1, 1, 1))
LAST = RUN.grid.chunks - 1


def result(chunk: int, seed: int = 0, seats: tuple[int, ...] = (0, 1)) -> ChunkResult:
    x_n = np.random.default_rng([chunk, seed]).standard_normal(RUN.grid.length(chunk)).astype(np.float32)
    return ChunkResult(chunk, ROSTER.bitmap(seats), memoryview(bytearray(RUN.codec.encode(x_n))))


def gathered() -> tuple[Gathered, list[int]]:
    heard: list[int] = []
    return Gathered(RUN, ROSTER, Recycler(), heard.append), heard


def test_results_are_kept_with_their_digests_and_decoded() -> None:
    found, heard = gathered()
    made = [result(chunk) for chunk in range(RUN.grid.chunks)]
    for one in reversed(made):
        assert not found.are_complete and one.chunk not in found
        found.adopt(one)
        assert found.digest(one.chunk) == result_digest(one.contributors, one.data)
        assert (found[one.chunk].contributors, bytes(found[one.chunk].data)) == (one.contributors, bytes(one.data))
    assert found.are_complete and heard == list(reversed(range(RUN.grid.chunks)))
    taken = found.take_mean()
    assert taken is not None and taken[1] == frozenset(range(RUN.grid.chunks))
    for one in made:
        expected_n = RUN.codec.decode(one.data, RUN.grid.length(one.chunk))
        assert taken[0][RUN.grid.bounds(one.chunk)].tobytes() == expected_n.tobytes()
    assert found.take_mean() is None


def test_the_memory_a_frame_came_in_may_be_written_over() -> None:
    """A lane reads the next frame into it."""
    found, _ = gathered()
    one = result(0)
    kept = bytes(one.data)
    found.adopt(one)
    one.data[:] = bytes(len(one.data))
    assert bytes(found[0].data) == kept


def test_the_first_result_stays() -> None:
    found, heard = gathered()
    found.adopt(result(1, seed=1))
    digest = found.digest(1)
    found.adopt(result(1, seed=2))
    assert found.digest(1) == digest and heard == [1]


def test_what_was_taken_is_not_written_to_any_more() -> None:
    found, _ = gathered()
    found.adopt(result(0))
    taken = found.take_mean()
    assert taken is not None and taken[1] == {0}
    before = taken[0].copy()
    found.adopt(result(1))
    assert taken[0].tobytes() == before.tobytes() and 1 in found


@pytest.mark.parametrize("bad", ["short", "long", "bitmap too long", "bitmap of nobody there"])
def test_a_result_that_is_not_well_formed_is_refused_and_leaves_nothing(bad: str) -> None:
    found, heard = gathered()
    one = result(0)
    data, bitmap = bytes(one.data), one.contributors
    bent = {
        "short": ChunkResult(0, bitmap, memoryview(data[:-1])),
        "long": ChunkResult(0, bitmap, memoryview(data + b"\0")),
        "bitmap too long": ChunkResult(0, bitmap + b"\0", memoryview(data)),
        "bitmap of nobody there": ChunkResult(0, b"\xff", memoryview(data)),
    }[bad]
    with pytest.raises(ProtocolError):
        found.adopt(bent)
    assert 0 not in found and heard == [] and found.digest(0) is None


def test_a_short_last_chunk_has_its_own_size() -> None:
    found, _ = gathered()
    with pytest.raises(ProtocolError):
        found.adopt(ChunkResult(LAST, result(0).contributors, result(0).data))
    found.adopt(result(LAST))
    assert LAST in found


def test_whoever_asks_is_told_once_before_or_after() -> None:
    async def main() -> None:
        found, _ = gathered()
        early, late = asyncio.Queue[int](), asyncio.Queue[int]()
        found.tell(0, early)
        found.tell(1, early)
        assert early.empty()
        found.adopt(result(0))
        found.tell(0, late)
        assert (early.get_nowait(), late.get_nowait()) == (0, 0)
        assert early.empty() and late.empty()

    asyncio.run(main())


def test_a_result_that_nobody_asked_for_is_refused() -> None:
    check_asked(result(1), {0, 1})
    with pytest.raises(ProtocolError, match="not asked for"):
        check_asked(result(1), {0})


def test_what_was_released_is_forgotten() -> None:
    found, _ = gathered()
    found.adopt(result(0))
    found.release()
    assert 0 not in found and found.take_mean() is None
