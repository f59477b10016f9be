"""Our own engine in a bench: real rounds of `swarm.node.engine.Engine`, from signed joins to the outer step.

`form_s` ends when this peer holds the closed roster, `data_s` when it has decoded the last chunk's mean, `commit_s`
when votes, outer step, new head and residual are done. Error feedback is on: what is averaged is each vector plus what
earlier rounds left of it.
"""

import asyncio

import numpy as np
import torch

from benchmarks.tapestry_peer import Peer
from benchmarks.worker import RoundFigures, Seat, Worker
from swarm import events
from swarm.clock import monotonic_s
from swarm.node.heap import keep_freed_chunks
from swarm.node.work import Update
from swarm.round.context import Context
from swarm.state.head import Head
from swarm.state.run import Run


class VectorTrainer:
    """A trainer whose update is a vector that somebody hands it."""

    def __init__(self) -> None:
        self._pending: asyncio.Future[Update] | None = None
        self.began = asyncio.Event()
        """Set while the engine waits for an update."""

    def begin(self, head: Head, seconds: float | None = None) -> "asyncio.Future[Update]":
        self._pending = asyncio.get_running_loop().create_future()
        self.began.set()
        return self._pending

    def give(self, vector_N: torch.Tensor) -> None:
        assert self._pending is not None and self.began.is_set(), "the engine is still in the round before"
        self.began.clear()
        self._pending.set_result(Update(vector_N.numpy(), 1))

    def go_on(self) -> "asyncio.Future[Update]":
        raise AssertionError("nobody cuts off the peers of a bench")

    def train_beside(self) -> "asyncio.Future[Update]":
        raise AssertionError("nobody cuts off the peers of a bench")

    def finish(self) -> None:
        """The vector comes whole, or not at all."""

    async def score(self, base_N: np.ndarray, current_N: np.ndarray) -> float | None:
        return None

    async def abandon(self) -> None:
        """A round that ended without this vector is counted as incomplete."""


class TapestryWorker:
    """One peer of a bench run."""

    _seat: Seat
    _peer: Peer
    _engine_task: asyncio.Task[None]
    _rostered_s: float | None = None
    _averaged_s: float | None = None

    def __init__(self) -> None:
        self._trainer = VectorTrainer()

    async def prepare(self, seat: Seat) -> None:
        torch.set_num_threads(1)
        keep_freed_chunks()
        await self.begin(seat, await Peer.start(seat, self.watch))

    async def begin(self, seat: Seat, peer: Peer) -> None:
        """Takes part in rounds with a started peer, whose events `watch` sees."""
        self._seat = seat
        self._peer = peer
        self._engine_task = asyncio.create_task(self._peer.engine.run(self._trainer, None))
        await self._ready()

    async def round(self) -> RoundFigures:
        self._rostered_s = self._averaged_s = None
        self._peer.begin_round()
        called_s = monotonic_s()
        self._trainer.give(self._seat.vector)
        await self._ready()
        settled_s = monotonic_s()
        averaged_s = self._averaged_s or settled_s  # a proposal may overtake this peer's own last chunks
        rostered_s = self._rostered_s or averaged_s
        return RoundFigures(
            form_s=rostered_s - called_s,
            data_s=averaged_s - rostered_s,
            commit_s=settled_s - averaged_s,
            commit_cpu_s=self._context.step_cpu_s,
            closed_bytes=self._peer.take_closed_bytes(),
            abroad_bytes=self._peer.take_abroad_bytes(),
            named_bytes=self._named_bytes(),
            group_size=self._group_size(),
        )

    async def collect(self) -> None:
        context = self._context
        committed = context.archive.committed(context.head.round)
        assert committed is not None
        for chunk in range(self._run.grid.chunks):
            data = context.archive.result(committed.value, committed.digest, chunk)
            assert data is not None
            self._run.codec.decode_into(data, self._seat.vector.numpy()[self._run.grid.bounds(chunk)])

    async def close(self) -> None:
        self._engine_task.cancel()
        await self._peer.stop()

    async def _ready(self) -> None:
        """Returns when the engine waits for the next update; raises what ended it if it does not run any more."""
        began = asyncio.create_task(self._trainer.began.wait())
        await asyncio.wait([began, self._engine_task], return_when=asyncio.FIRST_COMPLETED)
        began.cancel()
        if self._engine_task.done():
            self._engine_task.result()

    def watch(self, event: events.AnyEvent) -> None:
        """Notes when the phases of a round end."""
        match event:
            case events.RosterReady():  # of the last attempt, should there be several
                self._rostered_s = monotonic_s()
            case events.Reduced():
                self._averaged_s = monotonic_s()
            case _:
                return

    def _named_bytes(self) -> int:
        """Residual, result, base and each vector of the outer state, and the result as it travels."""
        vectors = 3 + self._run.rule.vectors
        return 4 * vectors * self._run.grid.elements + self._run.encoded_bytes_total

    def _group_size(self) -> int:
        """Peers counted in every chunk of the committed round, this one among them."""
        context = self._context
        committed = context.archive.committed(context.head.round)
        assert committed is not None
        return min(int.from_bytes(bitmap, "little").bit_count() for bitmap in committed.value.contributors)

    @property
    def _context(self) -> Context:
        assert self._peer.engine.ctx is not None
        return self._peer.engine.ctx

    @property
    def _run(self) -> Run:
        return self._peer.engine.run_info


def make_worker() -> Worker:
    return TapestryWorker()
