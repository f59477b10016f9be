"""The giving side of catching up: records and verified pieces of the state, to admitted peers."""

import numpy as np

from swarm.errors import ProtocolError
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.state.head import Head
from swarm.state.run import Run
from swarm.state.store import Store
from swarm.vector.digest import chunk_bytes, state_leaves

MAX_RECORDS_PER_REQUEST = 256


class Donor:
    """Serves the head's state, and the snapshots on disk for those who began downloading before it moved."""

    def __init__(self, run: Run, store: Store) -> None:
        self._run = run
        self._store = store
        self._cached: tuple[int, tuple[np.ndarray, ...], tuple[bytes, ...]] | None = None

    async def give_records(self, stream: AuditedStream, request: wire.GetRecords) -> None:
        """Records from a round on, then `Missing`."""
        if not 1 <= request.first <= wire.MAX_ROUND:
            raise ProtocolError(f"there is no round {request.first}")
        for round_number in range(request.first, request.first + MAX_RECORDS_PER_REQUEST):
            record = self._store.load_record(round_number)
            if record is None:
                break
            await stream.send(wire.RecordIs(record))
        await stream.send(wire.Missing())

    async def give_state(self, stream: AuditedStream, request: wire.GetState, head: Head) -> None:
        """The leaves of a state and the chunks wanted of it; index = vector x chunks + chunk, vector 0 the base."""
        found = self._find(request.round, head)
        if found is None:
            await stream.send(wire.Missing())
            return
        vectors, leaves = found
        if len(request.wanted) != len(set(request.wanted)):
            raise ProtocolError("a request for the same piece of the state twice")
        await stream.send(wire.StateIs(leaves))
        for index in request.wanted:
            if not 0 <= index < len(leaves):
                raise ProtocolError(f"a state has {len(leaves)} pieces, there is no piece {index}")
            vector, chunk = divmod(index, self._run.grid.chunks)
            values_N = vectors[vector][self._run.grid.bounds(chunk)]
            await stream.send(wire.StateChunk(index, bytes(chunk_bytes(values_N))))

    def _find(self, round_number: int, head: Head) -> tuple[tuple[np.ndarray, ...], tuple[bytes, ...]] | None:
        if self._cached is None or self._cached[0] != round_number:
            if round_number == head.round:
                vectors = (head.base_N, *head.outer_VN)
            else:
                loaded = self._store.load_snapshot(round_number)
                if loaded is None:
                    return None
                vectors = loaded
            self._cached = (round_number, vectors, state_leaves(self._run.grid, vectors[0], vectors[1:]))
        return self._cached[1], self._cached[2]
