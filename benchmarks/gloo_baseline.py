"""The reference without encryption, failure handling or quantisation: gloo's float32 `all_reduce`.

It shows what the machine's loopback gives to a plain C++ ring; it is no competitor, since its group is fixed
and dies with its first member.
"""

import asyncio
from datetime import timedelta

import torch.distributed as dist

from benchmarks.worker import RoundFigures, Seat, Worker
from swarm.clock import monotonic_s

_TIMEOUT = timedelta(seconds=120)


class GlooWorker:
    """One rank of a gloo process group."""

    _seat: Seat

    async def prepare(self, seat: Seat) -> None:
        if seat.codec != "float32":
            raise ValueError(f"gloo sends float32 only, not {seat.codec}")
        self._seat = seat
        await asyncio.to_thread(
            dist.init_process_group,
            "gloo",
            init_method=f"file://{seat.rendezvous.folder / 'gloo'}",
            rank=seat.rank,
            world_size=seat.world,
            timeout=_TIMEOUT,
        )

    async def round(self) -> RoundFigures:
        called_s = monotonic_s()
        await asyncio.to_thread(dist.all_reduce, self._seat.vector)
        self._seat.vector.div_(self._seat.world)
        return RoundFigures(form_s=0.0, data_s=monotonic_s() - called_s, group_size=self._seat.world)

    async def collect(self) -> None:
        """gloo averages in place."""

    async def close(self) -> None:
        dist.destroy_process_group()


def make_worker() -> Worker:
    return GlooWorker()
