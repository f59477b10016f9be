"""A peer's store without a disk that keeps no more than a bench needs: one round back, and every record.

The protocol asks for everything it would ask of a disk; here it is kept in memory, vectors and results by reference. So
the figures hold no `fsync`, and memory grows by no more than a record per round.
"""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from swarm.vector.bounds import Buffer


class VolatileStore:
    """`swarm.state.store.Store` of one peer of one bench."""

    keeps_residual = False

    def __init__(self) -> None:
        self._acceptor: bytes | None = None
        self._records: dict[int, bytes] = {}
        self._results: tuple[int, bytes, dict[int, Buffer]] = (0, b"", {})
        self._snapshot: tuple[int, tuple[np.ndarray, ...]] | None = None

    def load_acceptor(self) -> bytes | None:
        return self._acceptor

    async def save_acceptor(self, data: bytes) -> None:
        self._acceptor = data

    def load_restarts(self) -> bytes | None:
        return None

    async def save_restarts(self, data: bytes) -> None:
        raise AssertionError("no bench restarts its run")

    def load_documents(self) -> Sequence[bytes]:
        return ()

    async def save_document(self, name: str, data: bytes) -> None:
        raise AssertionError("no bench changes its rules")

    def load_record(self, round_number: int) -> bytes | None:
        return self._records.get(round_number)

    async def save_record(self, round_number: int, data: bytes) -> None:
        self._records[round_number] = data

    async def save_results(self, round_number: int, digest: bytes, results: Sequence[Buffer]) -> None:
        offsets = accumulate((len(data) for data in results), initial=0)
        self._results = (round_number, digest, dict(zip(offsets, results, strict=False)))

    def load_result(self, round_number: int, digest: bytes, offset: int, length: int) -> bytes | None:
        kept_round, kept_digest, data = self._results
        return bytes(data[offset]) if (kept_round, kept_digest) == (round_number, digest) else None

    def forget_results(self) -> None:
        """Of the round before: on a disk they would take no memory."""
        self._results = (0, b"", {})

    async def save_snapshot(self, round_number: int, vectors: Sequence[np.ndarray]) -> None:
        self._snapshot = (round_number, tuple(vectors))  # a head's vectors are never changed in place

    def snapshots(self) -> Sequence[int]:
        return [] if self._snapshot is None else [self._snapshot[0]]

    def load_snapshot(self, round_number: int) -> tuple[np.ndarray, ...] | None:
        if self._snapshot is None or self._snapshot[0] != round_number:
            return None
        return self._snapshot[1]

    async def fetch_snapshot(self, round_number: int) -> tuple[np.ndarray, ...] | None:
        return self.load_snapshot(round_number)

    async def save_residual(self, parts: Sequence[Buffer]) -> None:
        raise AssertionError("a residual is not kept")

    def load_residual(self) -> bytes | None:
        return None

    async def save_spent(self, round_number: int) -> None:
        """A bench ends with its process: nothing is sent after it."""

    def load_spent(self) -> int:
        return 0

    def set_aside_snapshot(self, round_number: int) -> None:
        self._snapshot = None

    def set_aside_record(self, round_number: int) -> None:
        self._records.pop(round_number, None)
