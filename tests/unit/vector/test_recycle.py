"""Memory that is used again: only when nothing looks at it any more, and not more of it than is worth keeping."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.vector.bounds import Buffer
from swarm.vector.recycle import _KEPT, Recycler


def address(vector_N: np.ndarray) -> int:
    return vector_N.__array_interface__["data"][0]


def test_vectors_are_writable_float32_of_the_length_asked_for() -> None:
    for elements in (0, 1, 1023, 100_000):
        made = Recycler().empty(elements)
        assert (made.shape, made.dtype, made.flags.writeable, made.flags.c_contiguous) == (
            (elements,),
            np.float32,
            True,
            True,
        )
        made[:] = 1.0


def test_memory_is_used_again_when_the_last_view_is_gone() -> None:
    recycler = Recycler()
    made = recycler.empty(1000)
    where = address(made)
    del made
    assert address(recycler.empty(1000)) == where


VIEWS: dict[str, Callable[[np.ndarray], Buffer | np.ndarray]] = {
    "slice": lambda made: made[10:20],
    "slice of a slice": lambda made: made[10:20][1:3],
    "memoryview": lambda made: made.data[10:20],
    "bytes view": lambda made: made.view(np.uint8).data[40:80],
}


@pytest.mark.parametrize("view", VIEWS)
def test_whatever_looks_at_it_keeps_it(view: str) -> None:
    recycler = Recycler()
    made = recycler.empty(1000)
    where = address(made)
    made[:] = 7.0
    kept = VIEWS[view](made)
    del made
    other = recycler.empty(1000)
    assert address(other) != where
    other[:] = 0.0
    assert np.frombuffer(kept, np.float32)[0] == 7.0
    del kept
    assert address(recycler.empty(1000)) == where


def test_of_each_size_only_a_few_are_kept() -> None:
    recycler = Recycler()
    many = [recycler.empty(500) for _ in range(_KEPT + 3)]
    del many
    assert [len(free) for free in recycler._free.values()] == [_KEPT]


def test_another_length_gets_other_memory() -> None:
    recycler = Recycler()
    made = recycler.empty(500)
    where = address(made)
    del made
    assert address(recycler.empty(501)) != where


@settings(max_examples=100, deadline=None)
@given(
    deeds=st.lists(
        st.tuples(st.sampled_from(("make", "slice", "drop")), st.integers(0, 7), st.sampled_from((16, 64))), max_size=40
    )
)
def test_no_two_live_vectors_share_memory_and_none_changes(deeds: list[tuple[str, int, int]]) -> None:
    recycler, live = Recycler(), list[tuple[np.ndarray, float]]()
    for stamp, (deed, which, elements) in enumerate(deeds):
        if deed == "make":
            made = recycler.empty(elements)
            made[:] = stamp
            live.append((made, float(stamp)))
        elif live and deed == "slice":
            whole, value = live[which % len(live)]
            live[which % len(live)] = (whole[1:], value)
            del whole
        elif live:
            del live[which % len(live)]
        for vector, value in live:
            assert (vector == value).all()
    spans = sorted((address(vector), address(vector) + vector.nbytes) for vector, _ in live if vector.size)
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))
