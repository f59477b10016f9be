"""The Merkle tree of RFC 9162, section 2.1: SHA-256 roots, inclusion proofs and consistency proofs. No I/O.

A node is named (level, index): the hash over the complete subtree of leaves index * 2**level up to the next one.
Complete nodes never change as a log grows, so whoever keeps them answers for every earlier size as well. Proofs read
O(log n) nodes through a function and are checked without any.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

ReadNode = Callable[[int, int], bytes]
"""(level, index) -> hash of a complete node."""


def leaf_hash(event: bytes) -> bytes:
    """Hash of one entry of the log."""
    return hashlib.sha256(b"\x00" + event).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: all that is needed to append, in O(log n) memory."""

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        """`peaks` are the complete subtrees of a tree of `size` leaves, largest first."""
        assert size.bit_count() == len(peaks), (size, len(peaks))
        self.size = size
        self._peaks = list(peaks)

    def append(self, leaf: bytes) -> list[bytes]:
        """Adds a leaf hash; returns the nodes it completes, itself first, each one level above the one before."""
        made = [leaf]
        size = self.size
        while size & 1:
            leaf = node_hash(self._peaks.pop(), leaf)
            made.append(leaf)
            size >>= 1
        self._peaks.append(leaf)
        self.size += 1
        return made

    def root(self) -> bytes:
        """The root of the tree as it is."""
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root


class Levels:
    """Every complete node of a log that fits in memory."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._levels = [list(leaves)]
        while len(below := self._levels[-1]) > 1:
            self._levels.append([node_hash(a, b) for a, b in zip(below[::2], below[1::2], strict=False)])

    def node(self, level: int, index: int) -> bytes:
        return self._levels[level][index]


def peaks_of(node: ReadNode, size: int) -> list[bytes]:
    """The complete subtrees that a tree of `size` leaves consists of, largest first."""
    peaks: list[bytes] = []
    first = 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            peaks.append(node(level, first >> level))
            first += 1 << level
    return peaks


def root_of(node: ReadNode, size: int) -> bytes:
    """The root of the first `size` leaves."""
    return Frontier(size, peaks_of(node, size)).root()


def roots_at(leaves: Iterable[bytes], sizes: Iterable[int]) -> dict[int, bytes]:
    """The roots of a log's first entries at each of `sizes`; sizes beyond its end are left out."""
    wanted = set(sizes)
    edge = Frontier()
    roots = {0: EMPTY_ROOT} if 0 in wanted else {}
    for leaf in leaves:
        edge.append(leaf)
        if edge.size in wanted:
            roots[edge.size] = edge.root()
    return roots


def inclusion_proof(node: ReadNode, index: int, size: int) -> list[bytes]:
    """PATH(index, D[size]) of RFC 9162, section 2.1.3.1."""
    assert 0 <= index < size, (index, size)
    first, stop, path = 0, size, list[bytes]()
    while stop - first > 1:
        middle = first + _split(stop - first)
        if index < middle:
            path.append(_subtree(node, middle, stop))
            stop = middle
        else:
            path.append(_subtree(node, first, middle))
            first = middle
    return path[::-1]


def consistency_proof(node: ReadNode, old_size: int, new_size: int) -> list[bytes]:
    """PROOF(old_size, D[new_size]) of RFC 9162, section 2.1.4.1; empty for equal sizes and for an empty old tree."""
    assert 0 <= old_size <= new_size, (old_size, new_size)
    if old_size in (0, new_size):
        return []
    first, stop, proof = 0, new_size, list[bytes]()
    while old_size != stop:
        middle = first + _split(stop - first)
        if old_size <= middle:
            proof.append(_subtree(node, middle, stop))
            stop = middle
        else:
            proof.append(_subtree(node, first, middle))
            first = middle
    if first:  # where the old tree is not a complete left part of the new one, its own last subtree comes first
        proof.append(_subtree(node, first, stop))
    return proof[::-1]


def includes(leaf: bytes, index: int, size: int, root: bytes, path: Sequence[bytes]) -> bool:
    """Whether `path` proves that `leaf` is entry `index` of the tree with this size and root (section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, hashed = index, size - 1, leaf
    for other in path:
        if not last:
            return False
        if at & 1 or at == last:
            hashed = node_hash(other, hashed)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            hashed = node_hash(hashed, other)
        at, last = at >> 1, last >> 1
    return not last and hashed == root


def is_extension(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` proves that the old tree is the beginning of the new one (section 2.1.4.2)."""
    if not 0 <= old_size <= new_size:
        return False
    if old_size == new_size:
        return old_root == new_root and not proof
    if not old_size:
        return old_root == EMPTY_ROOT and not proof
    path = list(proof)
    if not old_size & (old_size - 1):
        path.insert(0, old_root)
    if not path:
        return False
    at, last = old_size - 1, new_size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for other in path[1:]:
        if not last:
            return False
        if at & 1 or at == last:
            old, new = node_hash(other, old), node_hash(other, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, other)
        at, last = at >> 1, last >> 1
    return not last and old == old_root and new == new_root


def _subtree(node: ReadNode, first: int, stop: int) -> bytes:
    """The hash over leaves [first, stop), a subtree of some tree of the log."""
    width = stop - first
    if not width & (width - 1):
        level = width.bit_length() - 1
        return node(level, first >> level)
    middle = first + _split(width)
    return node_hash(_subtree(node, first, middle), _subtree(node, middle, stop))


def _split(width: int) -> int:
    """The largest power of two below `width`."""
    return 1 << (width - 1).bit_length() - 1
