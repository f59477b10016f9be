"""Merkle roots against RFC 9162's recursive definition; what a state digest binds."""

from collections.abc import Sequence

import numpy as np
import pytest
from blake3 import blake3

from swarm.vector.digest import (
    LEAF_BYTES,
    chunk_bytes,
    chunk_digest,
    merkle_root,
    root_of_state,
    state_digest,
    state_leaf,
    state_leaves,
)
from swarm.vector.grid import Grid


def slow_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 9162, section 2.1.1, word for word."""
    if not leaves:
        return blake3(b"").digest()
    if len(leaves) == 1:
        return blake3(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return blake3(b"\x01" + slow_root(leaves[:split]) + slow_root(leaves[split:])).digest()


@pytest.mark.parametrize("count", range(20))
def test_root_has_the_shape_of_rfc_9162(count: int) -> None:
    leaves = [bytes([i]) * i for i in range(count)]
    assert merkle_root(leaves) == slow_root(leaves)


def test_an_inner_node_is_no_leaf() -> None:
    a, b = b"a", b"b"
    node = blake3(b"\x00" + a).digest() + blake3(b"\x00" + b).digest()
    assert merkle_root([node]) != merkle_root([a, b])


def test_chunk_digest_is_blake3() -> None:
    # the empty input's vector from the BLAKE3 specification
    assert chunk_digest(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


def test_leaves_check_single_chunks() -> None:
    grid = Grid(10, 4)
    base, momentum = np.arange(10, dtype=np.float32), np.ones(10, np.float32)
    leaves = state_leaves(grid, base, (momentum,))
    assert len(leaves) == 2 * grid.chunks and {len(leaf) for leaf in leaves} == {LEAF_BYTES}
    assert root_of_state(leaves) == state_digest(grid, base, (momentum,))
    downloaded = base[8:10].astype("<f4").tobytes()
    assert state_leaf(0, 2, downloaded) == leaves[2]
    assert state_leaf(1, 2, downloaded) != leaves[5]
    # equal bytes elsewhere are another leaf
    assert leaves[3] != leaves[4]


def test_the_digest_binds_values_vectors_and_cut() -> None:
    values = np.zeros(16, np.float32)
    digests = {
        state_digest(Grid(16, 4), values, ()),
        state_digest(Grid(16, 8), values, ()),
        state_digest(Grid(8, 4), values[:8], (values[8:],)),
        state_digest(Grid(16, 4), values, (values,)),
        state_digest(Grid(16, 4), -values, ()),
    }
    assert len(digests) == 5


def test_digest_is_pinned() -> None:
    """The bytes are a contract between versions; changing them needs a new version of the charter."""
    base = np.array([1.5, -2.0, 0.0], np.float32)
    by_hand = [
        b"\0" * 16 + (8).to_bytes(8, "little") + blake3(bytes.fromhex("0000c03f000000c0")).digest(),
        b"\0" * 8 + (1).to_bytes(8, "little") + (4).to_bytes(8, "little") + blake3(bytes(4)).digest(),
    ]
    assert state_digest(Grid(3, 2), base, ()) == slow_root(by_hand)


def test_chunk_bytes_are_little_endian_and_not_a_copy() -> None:
    values = np.array([1.0], np.float32)
    view = chunk_bytes(values)
    assert bytes(view) == bytes.fromhex("0000803f")
    values[0] = 2
    assert bytes(view) == bytes.fromhex("00000040")
