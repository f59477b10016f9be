"""Properties of the grid, the Merkle tree and error feedback."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from swarm.vector.codec import Int8Block
from swarm.vector.digest import merkle_root
from swarm.vector.feedback import carry_in
from swarm.vector.grid import Grid


@given(elements=st.integers(1, 500), chunk_elements=st.integers(1, 600))
def test_every_element_lies_in_exactly_one_chunk(elements: int, chunk_elements: int) -> None:
    grid = Grid(elements, chunk_elements)
    seen = np.zeros(elements, int)
    for chunk in range(grid.chunks):
        seen[grid.bounds(chunk)] += 1
        assert 1 <= grid.length(chunk) <= chunk_elements
    assert (seen == 1).all()
    assert sum(grid.length(chunk) for chunk in range(grid.chunks)) == elements


@given(leaves=st.lists(st.binary(min_size=1, max_size=6), min_size=2, max_size=12), data=st.data())
def test_moving_a_boundary_between_leaves_changes_the_root(leaves: list[bytes], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(leaves) - 2))
    joined = leaves[at] + leaves[at + 1]
    cut = data.draw(st.integers(0, len(joined)).filter(lambda cut: cut != len(leaves[at])))
    moved = [*leaves[:at], joined[:cut], joined[cut:], *leaves[at + 2 :]]
    merged = [*leaves[:at], joined, *leaves[at + 2 :]]
    assert len({merkle_root(leaves), merkle_root(moved), merkle_root(merged)}) == 3


@given(leaves=st.lists(st.binary(max_size=3), max_size=12), extra=st.binary(max_size=3))
def test_adding_a_leaf_changes_the_root(leaves: list[bytes], extra: bytes) -> None:
    assert merkle_root([*leaves, extra]) != merkle_root(leaves)


@given(
    update=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20),
    counted=st.lists(st.booleans(), min_size=1, max_size=60),
)
def test_applied_plus_residual_is_what_was_meant(update: list[float], counted: list[bool]) -> None:
    """Whichever rounds count the chunk, nothing is lost and the debt stays bounded once it is counted."""
    update_n = np.array(update, np.float32)
    codec = Int8Block(8)
    residual = np.zeros_like(update_n)
    applied = np.zeros(update_n.size, np.float64)
    for is_counted in counted:
        x = carry_in(update_n.copy(), residual)
        if is_counted:
            applied += codec.decode(codec.encode(x, residual), x.size)
        else:
            residual = x
    meant = update_n.astype(np.float64) * len(counted)
    np.testing.assert_allclose(applied + residual, meant, atol=2e-5 * len(counted))
    if counted[-1]:
        assert np.abs(residual).max() <= len(counted) / 127
