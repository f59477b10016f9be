"""The results of one attempt as one peer has them: checked, decoded as they come, and told to whoever asked."""

import asyncio
from collections.abc import Callable

import numpy as np

from swarm.errors import ProtocolError
from swarm.net.wire import ChunkResult
from swarm.state.roster import Roster, result_digest
from swarm.state.run import Run
from swarm.vector.grid import Vector
from swarm.vector.recycle import Recycler


class Gathered:
    """At most one result per chunk; the first one stays. Their bytes lie in one block of memory."""

    def __init__(self, run: Run, roster: Roster, vectors: Recycler, on_result: Callable[[int], None]) -> None:
        """`on_result` hears of every chunk."""
        self._run = run
        self._roster = roster
        self._mean_N: Vector | None = vectors.empty(run.grid.elements)
        self._encoded = vectors.empty(-(-run.encoded_bytes_total // 4)).view(np.uint8).data
        self._on_result = on_result
        self._results: dict[int, ChunkResult] = {}
        self._digests: dict[int, bytes] = {}
        self._askers: dict[int, list[asyncio.Queue[int]]] = {}

    def __contains__(self, chunk: int) -> bool:
        return chunk in self._results

    def __getitem__(self, chunk: int) -> ChunkResult:
        return self._results[chunk]

    @property
    def are_complete(self) -> bool:
        return len(self._results) == self._run.grid.chunks

    def digest(self, chunk: int) -> bytes | None:
        """Of the result this peer has for a chunk."""
        return self._digests.get(chunk)

    def adopt(self, result: ChunkResult) -> None:
        """Takes a result from another peer. Raises ProtocolError if it is not well-formed for this roster."""
        length = self._run.grid.length(result.chunk)
        self._run.codec.check(result.data, length)
        self._run.check_norm(result.data, length)
        self._roster.contributors(result.contributors)
        if result.chunk not in self._results:
            self.put(result)

    def put(self, result: ChunkResult) -> bytes:
        """Takes a checked result and returns its digest."""
        chunk = result.chunk
        assert chunk not in self._results, chunk
        digest = result_digest(result.contributors, result.data)
        begin = chunk * self._run.encoded_bytes(0)
        data = self._encoded[begin : begin + len(result.data)]
        data[:] = result.data
        self._results[chunk], self._digests[chunk] = ChunkResult(chunk, result.contributors, data), digest
        if self._mean_N is not None:
            self._run.codec.decode_into(data, self._mean_N[self._run.grid.bounds(chunk)], is_checked=True)
        for asker in self._askers.pop(chunk, ()):
            asker.put_nowait(chunk)
        self._on_result(chunk)
        return digest

    def tell(self, chunk: int, asker: "asyncio.Queue[int]") -> None:
        """Puts the chunk into the queue once its result is there."""
        if chunk in self._results:
            asker.put_nowait(chunk)
        else:
            self._askers.setdefault(chunk, []).append(asker)

    def release(self) -> None:
        """Forgets everything: nobody will ask any more, and the memory may serve the next attempt."""
        self._results.clear()
        self._mean_N = None
        self._encoded = memoryview(b"")

    def take_mean(self) -> tuple[Vector, frozenset[int]] | None:
        """The vector, and the chunks decoded in it; nothing more is written to it. None if it was taken before."""
        mean_N, self._mean_N = self._mean_N, None
        return None if mean_N is None else (mean_N, frozenset(self._results))


def check_asked(result: ChunkResult, allowed: set[int]) -> None:
    """Raises ProtocolError for a result nobody asked for."""
    if result.chunk not in allowed:
        raise ProtocolError(f"a result for chunk {result.chunk} that was not asked for")
