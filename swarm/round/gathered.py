"""The results of one attempt as one peer has them: checked, decoded as they come, and told to whoever asked."""

import asyncio
from collections.abc import Callable

from swarm.errors import ProtocolError
from swarm.net.wire import ChunkResult
from swarm.state.roster import Roster, result_digest
from swarm.state.run import Run
from swarm.vector.grid import Vector


class Gathered:
    """At most one result per chunk; the first one stays."""

    def __init__(self, run: Run, roster: Roster, mean_N: Vector, on_result: Callable[[int], None]) -> None:
        """`mean_N`, float32 [N], is filled with the decoded results; `on_result` hears of every chunk."""
        self._run = run
        self._roster = roster
        self._mean_N: Vector | None = mean_N
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
        self._run.codec.check(result.data, self._run.grid.length(result.chunk))
        self._roster.contributors(result.contributors)
        if result.chunk not in self._results:
            self.put(result)

    def put(self, result: ChunkResult) -> bytes:
        """Takes a checked result and returns its digest."""
        chunk = result.chunk
        assert chunk not in self._results, chunk
        digest = result_digest(result.contributors, result.data)
        self._results[chunk], self._digests[chunk] = result, digest
        if self._mean_N is not None:
            self._run.codec.decode_into(result.data, self._mean_N[self._run.grid.bounds(chunk)], is_checked=True)
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

    def take_mean(self) -> tuple[Vector, frozenset[int]] | None:
        """The vector, and the chunks decoded in it; nothing more is written to it. None if it was taken before."""
        mean_N, self._mean_N = self._mean_N, None
        return None if mean_N is None else (mean_N, frozenset(self._results))


def check_asked(result: ChunkResult, allowed: set[int]) -> None:
    """Raises ProtocolError for a result nobody asked for."""
    if result.chunk not in allowed:
        raise ProtocolError(f"a result for chunk {result.chunk} that was not asked for")
