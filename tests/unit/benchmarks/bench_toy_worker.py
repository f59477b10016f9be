"""An engine for the harness's own tests: averages through files in the rendezvous folder.

Its codec names its behaviour: `honest` averages; `loner` averages with nobody and says so; `liar` averages
with nobody and claims a full group; `raiser` raises in its first round; `crasher` dies in it; `silent` never
ends it; `parent` starts a process that would run for ever and tells a FIFO.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys

import torch

from benchmarks.worker import RoundFigures, Seat


class ToyWorker:
    seat: Seat
    rounds = 0

    async def prepare(self, seat: Seat) -> None:
        self.seat = seat
        if seat.codec == "parent":
            fifo = os.open(os.environ["BENCH_TOY_FIFO"], os.O_WRONLY)
            endless = "import signal; signal.pause()"
            command = [sys.executable, "-c", endless]
            subprocess.Popen(command, pass_fds=(fifo,))  # noqa: ASYNC220 (nothing else is on this loop yet)
            os.write(fifo, b"up\n")
            os.close(fifo)  # from here on only the endless process holds it open

    async def round(self) -> RoundFigures:
        self.rounds += 1
        match self.seat.codec:
            case "raiser":
                raise RuntimeError("out of luck\nsecond line")
            case "crasher":
                os.kill(os.getpid(), signal.SIGKILL)
            case "silent" | "parent":
                await asyncio.Event().wait()
            case "honest":
                await self._average()
            case _:
                pass
        alone = self.seat.codec == "loner"
        return RoundFigures(form_s=0.25, data_s=0.5, group_size=1 if alone else self.seat.world)

    async def collect(self) -> None:
        """The average is in place already."""

    async def close(self) -> None:
        pass

    async def _average(self) -> None:
        place = self.seat.rendezvous
        place.publish(f"{self.rounds}-{self.seat.rank}", json.dumps(self.seat.vector.tolist()))
        texts = [await place.read(f"{self.rounds}-{rank}") for rank in range(self.seat.world)]
        self.seat.vector.copy_(torch.tensor([json.loads(text) for text in texts]).mean(dim=0))


def make_worker() -> ToyWorker:
    return ToyWorker()
