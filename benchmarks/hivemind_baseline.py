"""The competitor: hivemind's own `DecentralizedAverager`, with its defaults but for `target_group_size`.

Compression is `Uniform8BitQuantization` for `int8` and none for `float32`. All peers call `step` at once,
each with its own DHT process, averager process and libp2p daemon, which is how its users run it. The phases
are read from `StepControl.stage`: formation lasts from the call until the stage says that the all-reduce
runs.
"""

import asyncio
import warnings

import hivemind
from hivemind.averaging.control import AveragingStage, StepControl
from hivemind.compression import CompressionBase, NoCompression, Uniform8BitQuantization

from benchmarks.worker import RoundFigures, Seat, Worker
from swarm.clock import monotonic_s

_STAGE_POLL_S = 0.005
"""Resolution of the phases; costs the worker about one per cent of a core."""
_COMPRESSIONS: dict[str, CompressionBase] = {"int8": Uniform8BitQuantization(), "float32": NoCompression()}


class HivemindWorker:
    """One averager in the group of all peers."""

    _dht: hivemind.DHT
    _averager: hivemind.DecentralizedAverager

    async def prepare(self, seat: Seat) -> None:
        if seat.codec not in _COMPRESSIONS:
            raise ValueError(f"hivemind is measured with {' or '.join(_COMPRESSIONS)}, not {seat.codec}")
        initial_peers = [] if seat.rank == 0 else (await seat.rendezvous.read("hivemind")).split()
        # Both constructors block, and must: they set signal handlers, which only the main thread may do.
        self._dht = hivemind.DHT(initial_peers=initial_peers, start=True)
        if seat.rank == 0:
            seat.rendezvous.publish("hivemind", "\n".join(map(str, self._dht.get_visible_maddrs())))
        self._averager = hivemind.DecentralizedAverager(
            [seat.vector],  # moved to shared memory in place
            self._dht,
            start=True,
            prefix="bench",
            target_group_size=seat.world,
            compression=_COMPRESSIONS[seat.codec],
        )

    async def round(self) -> RoundFigures:
        called_s = monotonic_s()
        control = self._averager.step(wait=False)
        assert isinstance(control, StepControl)
        grouped_s, last_stage = None, AveragingStage.IDLE
        while not control.done():
            stage = control.stage
            if stage is AveragingStage.RUNNING_ALLREDUCE and stage is not last_stage:
                grouped_s = monotonic_s()  # of the last attempt, should hivemind retry
            last_stage = stage
            await asyncio.sleep(_STAGE_POLL_S)
        ended_s = monotonic_s()
        if grouped_s is None:
            grouped_s = ended_s
        gathered = control.result()
        return RoundFigures(form_s=grouped_s - called_s, data_s=ended_s - grouped_s, group_size=len(gathered))

    async def collect(self) -> None:
        """hivemind averages in place."""

    async def close(self) -> None:
        self._averager.shutdown()
        self._dht.shutdown()


def make_worker() -> Worker:
    # hivemind's codec uses torch's old quantisation calls; its helper processes inherit this filter.
    warnings.filterwarnings("ignore", message=".*quantize_per_tensor", category=UserWarning)
    return HivemindWorker()
