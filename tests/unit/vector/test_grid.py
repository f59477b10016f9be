"""The grid: where chunks lie, and what it refuses."""

import pytest

from swarm.vector.grid import Grid


def test_last_chunk_is_short() -> None:
    grid = Grid(10, 4)
    assert grid.chunks == 3
    assert [grid.bounds(chunk) for chunk in range(3)] == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert [grid.length(chunk) for chunk in range(3)] == [4, 4, 2]


def test_exact_division_has_no_empty_chunk() -> None:
    assert Grid(8, 4).chunks == 2
    assert Grid(3, 4).bounds(0) == slice(0, 3)


@pytest.mark.parametrize(("elements", "chunk_elements"), [(0, 4), (-1, 4), (4, 0), (4, -2)])
def test_nonsense_sizes_are_refused(elements: int, chunk_elements: int) -> None:
    with pytest.raises(ValueError, match="at least one element"):
        Grid(elements, chunk_elements)


@pytest.mark.parametrize("chunk", [-1, 3])
def test_a_chunk_outside_is_refused(chunk: int) -> None:
    with pytest.raises(ValueError, match="not in a grid of 3"):
        Grid(10, 4).length(chunk)
