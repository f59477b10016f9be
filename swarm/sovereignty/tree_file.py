"""A log's complete tree nodes on disk, 32 bytes each, so that proofs cost O(log n) reads and no memory.

Derived from the ledger, and made anew from it where it is missing, short or of another ledger: nothing trusts it but
the peer that wrote it. Nodes lie in the order in which appending completes them, each leaf followed by what it
completes, so the file only ever grows.
"""

from pathlib import Path
from typing import BinaryIO

from swarm.sovereignty.merkle import HASH_BYTES

_FLUSH_BYTES = 64 * 1024


def stored_nodes(size: int) -> int:
    """Nodes kept for a log of `size` entries."""
    return 2 * size - size.bit_count()


def position(level: int, index: int) -> int:
    """Where a node lies, in nodes: after the last leaf under it and the smaller nodes that leaf completes."""
    return stored_nodes((index + 1 << level) - 1) + level


class TreeFile:
    """The nodes of one log. What is not flushed is lost in a crash, and made anew from the ledger."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file. Raises OSError."""
        path.touch()
        self._file: BinaryIO = path.open("rb+", buffering=0)
        self._flushed = self._file.seek(0, 2) // HASH_BYTES
        self._fresh = bytearray()

    @property
    def size(self) -> int:
        """Entries of the log whose nodes are all here."""
        nodes = self._flushed + len(self._fresh) // HASH_BYTES
        size = nodes // 2
        while stored_nodes(size + 1) <= nodes:
            size += 1
        return size

    def cut(self, size: int) -> None:
        """Forgets every node that the first `size` entries do not complete."""
        self.flush()
        self._flushed = stored_nodes(size)
        self._file.truncate(self._flushed * HASH_BYTES)
        self._file.seek(self._flushed * HASH_BYTES)

    def add(self, nodes: list[bytes]) -> None:
        """Appends the nodes that one leaf completes. Raises OSError."""
        for node in nodes:
            self._fresh += node
        if len(self._fresh) >= _FLUSH_BYTES:
            self.flush()

    def node(self, level: int, index: int) -> bytes:
        """A complete node. Raises OSError."""
        at = position(level, index)
        if at >= self._flushed:
            first = (at - self._flushed) * HASH_BYTES
            return bytes(self._fresh[first : first + HASH_BYTES])
        self._file.seek(at * HASH_BYTES)
        return self._file.read(HASH_BYTES)

    def flush(self) -> None:
        """Hands what is fresh to the system. Raises OSError."""
        while self._fresh:
            self._file.seek(self._flushed * HASH_BYTES)
            written = self._file.write(self._fresh) // HASH_BYTES
            if not written:  # a part of a node: it is written again, whole
                continue
            del self._fresh[: written * HASH_BYTES]
            self._flushed += written

    def close(self) -> None:
        self._file.close()
