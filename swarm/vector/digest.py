"""Digests of chunks and of the whole state: BLAKE3, and a Merkle tree in the shape of RFC 9162.

The state is the base followed by the outer optimiser's vectors. One leaf stands for one chunk of one vector
and binds where it belongs and how long it is, so equal bytes at another place, or cut elsewhere, give another
root. Whoever holds the leaves can check every chunk alone, from anybody.
"""

import struct
from collections.abc import Sequence

import numpy as np
from blake3 import blake3

from swarm.vector.grid import Grid, Vector

DIGEST_BYTES = 32
LEAF_BYTES = 56
"""Size of a state leaf: vector, chunk and length as little-endian uint64, then the chunk's digest."""

_LEAF_HEAD = struct.Struct("<QQQ")
_LEAF_TAG = b"\x00"
_NODE_TAG = b"\x01"

Buffer = bytes | bytearray | memoryview


def chunk_digest(data: Buffer) -> bytes:
    """The 32-byte BLAKE3 digest of some bytes."""
    return blake3(data).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaves of any length (RFC 9162, section 2.1.1, with BLAKE3); 32 bytes.

    Leaves and inner nodes are hashed under different prefixes, so a node never passes as a leaf.
    """
    if not leaves:
        return chunk_digest(b"")
    level = [chunk_digest(_LEAF_TAG + leaf) for leaf in leaves]
    # Pairing neighbours and lifting an odd last node gives RFC 9162's tree, which splits at powers of two.
    while len(level) > 1:
        pairs = [chunk_digest(_NODE_TAG + a + b) for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[2 * len(pairs) :]
    return level[0]


def state_leaf(vector: int, chunk: int, data: Buffer) -> bytes:
    """The leaf of one chunk; `data` is its little-endian float32 bytes, `vector` 0 is the base."""
    return _LEAF_HEAD.pack(vector, chunk, memoryview(data).nbytes) + chunk_digest(data)


def state_leaves(grid: Grid, base_N: Vector, state_VN: Sequence[Vector]) -> tuple[bytes, ...]:
    """Every leaf of the state: (vector, chunk) is at `vector * grid.chunks + chunk`, the base is vector 0."""
    vectors = (base_N, *state_VN)
    for vector_N in vectors:
        assert vector_N.shape == (grid.elements,), (vector_N.shape, grid.elements)
    return tuple(
        state_leaf(vector, chunk, chunk_bytes(vector_N[grid.bounds(chunk)]))
        for vector, vector_N in enumerate(vectors)
        for chunk in range(grid.chunks)
    )


def root_of_state(leaves: Sequence[bytes]) -> bytes:
    """The state digest that these leaves amount to; compare it with the one in a commit record."""
    return merkle_root(leaves)


def state_digest(grid: Grid, base_N: Vector, state_VN: Sequence[Vector]) -> bytes:
    """The 32-byte digest of base and outer-optimiser state, each of shape (grid.elements,)."""
    return root_of_state(state_leaves(grid, base_N, state_VN))


def chunk_bytes(values_N: Vector) -> memoryview:
    """A slice as little-endian float32 bytes, without a copy on little-endian machines."""
    return np.ascontiguousarray(values_N, "<f4").view(np.uint8).data
