"""Checkpoints, written beside the next round's inner steps, and the residual that goes with them.

A committed round needs no checkpoint to be safe: before a peer acts on it, its record and its result bytes are on disk
(`swarm.round.member.commit`), and a restart replays them on the newest checkpoint. So a checkpoint may come late: one
is written at a time, and if rounds are quicker than the disk, those in between are left out. It must only not fall so
far behind that the results after it are pruned: then `keep` waits.

The residual (what quantising or a missed round took from this peer's updates) is local and in no record. It is saved
in int8, a quarter of its size, at once and beside any checkpoint that is being written, and again when a late update
has come into it; what that rounds away is a hundredth of it. A crash between a commit and that save loses it, as it
loses the current inner steps.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import blake3
import numpy as np

from swarm import events
from swarm.clock import monotonic_s
from swarm.errors import ProtocolError, StateError
from swarm.identity.peer_id import PeerId
from swarm.net.tasks import all_of
from swarm.state.archive import Archive
from swarm.state.head import Head
from swarm.state.run import Run
from swarm.state.store import KEPT_ROUNDS, Store
from swarm.vector.codec import make_codec
from swarm.vector.grid import Grid

MAX_LAG_ROUNDS = KEPT_ROUNDS - 2
"""A restart replays at most so many rounds; the results of that many are on disk, and of two more."""
_BLOCK_ELEMENTS = 128
_DIGEST_BYTES = 32
_HEADER = struct.Struct("<QQ")
"""After the BLAKE3 of all that follows: the round after which the residual is what is left over, and the tokens of the
late update in it."""

T = TypeVar("T")


class _Newest(Generic[T]):
    """The newest of what is to be written: one at a time, and what waits meanwhile makes way for what is newer."""

    def __init__(self) -> None:
        self._next: T | None = None
        self._work = asyncio.Event()
        self.at_rest = asyncio.Event()
        """Set while nothing waits and nothing is being written."""
        self.at_rest.set()

    def put(self, item: T) -> None:
        self._next = item
        self.at_rest.clear()
        self._work.set()

    async def write_by(self, write: Callable[[T], Awaitable[None]]) -> None:
        """Until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            if self._next is not None:
                item, self._next = self._next, None
                await write(item)
            if self._next is None:
                self.at_rest.set()


@dataclass(frozen=True)
class LeftOver:
    """What earlier rounds did not take of this peer's updates."""

    residual_N: np.ndarray
    """Float32 [N]."""
    round: int
    """After which it is that."""
    carried_tokens: int
    """Of the late update that is in it."""


def nothing_left(grid: Grid) -> LeftOver:
    return LeftOver(np.zeros(grid.elements, np.float32), 0, 0)


class Checkpoints:
    """One peer's checkpoints. `run` is a task of its own; `keep` hands it what to write."""

    def __init__(self, run: Run, me: PeerId, store: Store, sink: Callable[[events.AnyEvent], None]) -> None:
        self._run = run
        self._me = me
        self._store = store
        self._sink = sink
        self._codec = make_codec("int8", _BLOCK_ELEMENTS)
        self._heads = _Newest[Head]()
        self._residuals = _Newest[list[bytes]]()
        self._is_refused = False
        """Whether the disk has refused the last residual, which is said once."""

    async def run(self) -> None:
        """Writes what `keep` has handed over, until cancelled. No residual waits for a snapshot."""
        await all_of(self._residuals.write_by(self._write_residual), self._heads.write_by(self._write_snapshot))

    async def keep(self, head: Head, residual_N: np.ndarray, carried_tokens: int) -> None:
        """Hands over a head and its residual, float32 [N]; returns when the residual's memory may be changed again.

        The writing itself goes on beside. Yields between chunks.
        """
        if head.round - self._newest >= MAX_LAG_ROUNDS:
            await self._heads.at_rest.wait()
        await self.keep_residual(head.round, residual_N, carried_tokens)
        self._heads.put(head)

    async def keep_residual(self, round_number: int, residual_N: np.ndarray, carried_tokens: int) -> None:
        """As `keep`, when the residual of that round has grown since: a late update came."""
        residual = await self._encoded(round_number, residual_N, carried_tokens) if self._store.keeps_residual else []
        if residual:
            self._residuals.put(residual)

    async def finish(self) -> None:
        """Returns once all that was handed over is on disk, or was refused by it."""
        await self._residuals.at_rest.wait()
        await self._heads.at_rest.wait()

    def left_over_at(self, head: Head) -> LeftOver:
        """What was left over when this peer last stopped; nothing if that is not known at `head`."""
        data = self._store.load_residual()
        if data is None:
            return nothing_left(self._run.grid)
        found = self._read_residual(data, head)
        if isinstance(found, str):
            self._say(f"what was left over of this peer's last updates is dropped: {found}")
            return nothing_left(self._run.grid)
        return found

    @property
    def _newest(self) -> int:
        return next(iter(self._store.snapshots()), 0)

    async def _write_snapshot(self, head: Head) -> None:
        began_s = monotonic_s()
        try:
            if head.round not in self._store.snapshots():
                await self._store.save_snapshot(head.round, (head.base_N, *head.outer_VN))
        except StateError as error:
            self._sink(events.CheckpointFailed(round=head.round, reason=str(error), newest=self._newest))
            return
        self._sink(events.CheckpointSaved(round=head.round, seconds=monotonic_s() - began_s))

    async def _write_residual(self, residual: list[bytes]) -> None:
        try:
            await self._store.save_residual(residual)
        except StateError as error:
            if not self._is_refused:
                self._say(f"what is left over of this peer's updates was not saved: {error}")
            self._is_refused = True
        else:
            self._is_refused = False

    async def _encoded(self, round_number: int, residual_N: np.ndarray, carried_tokens: int) -> list[bytes]:
        header = _HEADER.pack(round_number, carried_tokens)
        grid, digest, chunks = self._run.grid, blake3.blake3(header), list[bytes]()
        for chunk in range(grid.chunks):
            try:
                chunks.append(self._codec.encode(residual_N[grid.bounds(chunk)]))
            except ValueError:
                return []  # what no codec takes the gate will not let out either: it is dropped with the next update
            digest.update(chunks[-1])
            await asyncio.sleep(0)
        return [digest.digest(), header, *chunks]

    def _read_residual(self, data: bytes, head: Head) -> LeftOver | str:
        """What it holds, or why that cannot be what is left over at `head`."""
        grid = self._run.grid
        sizes = [self._codec.encoded_bytes(grid.length(chunk)) for chunk in range(grid.chunks)]
        digest, rest = data[:_DIGEST_BYTES], memoryview(data)[_DIGEST_BYTES:]
        if len(rest) != _HEADER.size + sum(sizes) or blake3.blake3(rest).digest() != digest:
            return "its file is damaged"
        round_number, carried_tokens = _HEADER.unpack_from(rest)
        codes = rest[_HEADER.size :]
        if round_number > head.round or self._may_have_been_counted(round_number, head.round):
            return f"it is that of round {round_number}, and this peer is in round {head.round}"
        residual_N = np.empty(grid.elements, np.float32)
        offset = 0
        for chunk, size in enumerate(sizes):
            try:
                self._codec.decode_into(codes[offset : offset + size], residual_N[grid.bounds(chunk)])
            except ProtocolError:
                return "its file is damaged"
            offset += size
        return LeftOver(residual_N, round_number, carried_tokens)

    def _may_have_been_counted(self, after: int, last: int) -> bool:
        """Whether this peer's update may have gone into a round after `after`, up to `last`: the residual with it."""
        if last - after > KEPT_ROUNDS:
            return True
        archive = Archive(self._run, self._store)
        for round_number in range(after + 1, last + 1):
            try:
                decided = archive.committed(round_number)
            except ProtocolError:  # its file is damaged
                return True
            if decided is None or self._me in decided.roster.index:
                return True
        return False

    def _say(self, text: str) -> None:
        self._sink(events.Note(text=text))
