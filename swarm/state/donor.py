"""The giving side of catching up: records and verified pieces of the state, to admitted peers.

A state that somebody is downloading is held here until nobody has asked for it for a while, however far the head has
moved meanwhile: a download may take longer than the few rounds that snapshots are kept. Training comes first: pieces
wait their turn (`upload.py`), nothing here holds up the event loop for longer than one piece takes, and only a few
newcomers are served at once; others are told so and ask elsewhere.
"""

import asyncio
from dataclasses import dataclass

import numpy as np

from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.state.chain import kept_state
from swarm.state.head import Head
from swarm.state.run import Run
from swarm.state.store import Store
from swarm.state.upload import Upload
from swarm.vector.digest import chunk_bytes, root_of_state, state_leaf

MAX_RECORDS_PER_REQUEST = 256
BUSY = "busy"
"""Code of the refusal that asks a newcomer to come again a little later."""
MAX_NEWCOMERS = 4
"""Downloads served at once; each holds one piece of memory in flight."""
TELL_EVERY_S = 10.0
"""How often a newcomer is told that its piece waits for its turn: a slow uplink may take minutes for one."""
HELD_STATES = 2
"""States held for downloads: each may be as much memory as this peer's own base and outer state."""
HELD_S = 300.0
"""How long a state is held after the last request for it: a newcomer that was killed may come back."""
IDLE_LIMIT_S = 60.0
"""How long a newcomer may say nothing before its place goes to another."""


@dataclass
class _Held:
    """A state somebody downloads. Its arrays are never changed in place."""

    vectors: tuple[np.ndarray, ...]
    leaves: tuple[bytes, ...]
    used_s: float
    users: int = 0


class Donor:
    """Serves the head's state, those somebody has begun to download, and the snapshots on disk."""

    def __init__(self, run: Run, store: Store, upload: Upload) -> None:
        self._run = run
        self._store = store
        self._upload = upload
        self._held: dict[bytes, _Held] = {}
        """By state digest: after a change of chains a round has another state than the one that was held for it."""
        self._holding = asyncio.Lock()
        self._newcomers: dict[PeerId, asyncio.Task[None]] = {}

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
        """The leaves of a state and the pieces wanted of it, now and in further requests on the same stream.

        Index = vector x chunks + chunk, vector 0 is the base.
        """
        # A newcomer that begins anew has given up the download it had: its place is its own again.
        earlier = self._newcomers.pop(stream.remote, None)
        if earlier is not None:
            earlier.cancel()
        if len(self._newcomers) >= MAX_NEWCOMERS:
            await stream.send(wire.Refusal(BUSY, f"this peer gives its state to {MAX_NEWCOMERS} others just now"))
            return
        task = asyncio.current_task()
        assert task is not None
        self._newcomers[stream.remote] = task
        try:
            held = await self._hold(request.round, head)
            if isinstance(held, wire.Frame):
                await stream.send(held)
                return
            held.users += 1
            try:
                await self._give(stream, request, held)
            finally:
                held.users -= 1
                held.used_s = monotonic_s()
                asyncio.get_running_loop().call_later(HELD_S, self._let_go)
        finally:
            if self._newcomers.get(stream.remote) is task:
                del self._newcomers[stream.remote]

    async def _give(self, stream: AuditedStream, request: wire.GetState, held: _Held) -> None:
        """Serves one newcomer until it closes its stream, breaks the rules or says nothing for too long.

        No piece is given twice over one stream, so that nobody can hold a state here for ever.
        """
        round_number = request.round
        asked = set[int]()
        _check(request.wanted, asked, len(held.leaves))
        await stream.send(wire.StateIs(held.leaves))
        while True:
            for index in request.wanted:
                vector, chunk = divmod(index, self._run.grid.chunks)
                data = bytes(chunk_bytes(held.vectors[vector][self._run.grid.bounds(chunk)]))
                await self._turn(stream, len(data))
                await stream.send(wire.StateChunk(index, data))
                await asyncio.sleep(0)
            async with asyncio.timeout(IDLE_LIMIT_S):
                request = await stream.receive(wire.GetState, wire.MAX_REQUEST_BYTES)
            if request.round != round_number:
                raise ProtocolError("a request for another state than the stream's")
            _check(request.wanted, asked, len(held.leaves))

    async def _turn(self, stream: AuditedStream, size_bytes: int) -> None:
        """Returns when so many bytes may go; meanwhile the newcomer hears that this donor has not stalled."""
        turn = asyncio.create_task(self._upload.turn(size_bytes))
        try:
            while not (await asyncio.wait([turn], timeout=TELL_EVERY_S))[0]:
                await stream.send(wire.Waiting(0, 0))
            turn.result()
        finally:
            turn.cancel()

    def _let_go(self) -> None:
        """Forgets states that nobody has asked for lately."""
        now_s = monotonic_s()
        self._held = {digest: held for digest, held in self._held.items() if held.users or now_s - held.used_s < HELD_S}

    async def _hold(self, round_number: int, head: Head) -> _Held | wire.Missing | wire.Refusal:
        """The state after a round of this peer's chain with its leaves, if it is here and there is room for it."""
        digest = head.state_digest
        if round_number != head.round:
            kept = kept_state(self._run, self._store.load_record, round_number)
            if kept is None:
                return wire.Missing()
            digest = kept
        async with self._holding:  # many newcomers come at once, and the state is hashed once
            self._let_go()
            held = self._held.get(digest)
            if held is None:
                unused = [other for other, state in self._held.items() if not state.users]
                if len(self._held) >= HELD_STATES and not unused:
                    return wire.Refusal(BUSY, f"this peer gives {HELD_STATES} other states just now")
                held = await self._read(round_number, head)
                if held is None or root_of_state(held.leaves) != digest:
                    return wire.Missing()
                if len(self._held) >= HELD_STATES:
                    del self._held[min(unused, key=lambda other: self._held[other].used_s)]
                self._held[digest] = held
            held.used_s = monotonic_s()
            return held

    async def _read(self, round_number: int, head: Head) -> _Held | None:
        vectors: tuple[np.ndarray, ...] | None = (head.base_N, *head.outer_VN)
        if round_number == head.round and head.leaves:
            return _Held(vectors, head.leaves, monotonic_s())
        if round_number != head.round:
            vectors = await self._store.fetch_snapshot(round_number)
        if vectors is None:
            return None
        grid = self._run.grid
        leaves: list[bytes] = []
        for vector, vector_N in enumerate(vectors):
            for chunk in range(grid.chunks):
                leaves.append(state_leaf(vector, chunk, chunk_bytes(vector_N[grid.bounds(chunk)])))
                await asyncio.sleep(0)
        return _Held(vectors, tuple(leaves), monotonic_s())


def _check(wanted: tuple[int, ...], asked: set[int], pieces: int) -> None:
    """Adds what is wanted to what was asked before. Raises ProtocolError for what is there already, or nowhere."""
    for index in wanted:
        if not 0 <= index < pieces:
            raise ProtocolError(f"a state has {pieces} pieces, there is no piece {index}")
        if index in asked:
            raise ProtocolError("a request for the same piece of the state twice")
        asked.add(index)
