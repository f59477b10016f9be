"""Machines that die, leave, come back and are replaced, as a Poisson process."""

import asyncio
import random
from dataclasses import dataclass, field

from tests.scale.swarm import ScaleSwarm

_SHORTEST_ABSENCE_S = 2.0
_LONGEST_ABSENCE_S = 20.0


@dataclass
class Churn:
    """`percent_per_minute` of the machines leave per minute: half say goodbye, half are killed between two steps.

    After some seconds half of them come back with their disks; a new machine without one takes the place of the others.
    """

    swarm: ScaleSwarm
    percent_per_minute: float
    random: random.Random
    deaths: int = 0
    goodbyes: int = 0
    returns: int = 0
    newcomers: int = 0
    _next_number: int = 0
    _absences: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    async def run(self) -> None:
        """Until cancelled."""
        machines = len(self.swarm.peers)
        self._next_number = machines
        if not self.percent_per_minute:
            return
        mean_s = 60 / (machines * self.percent_per_minute / 100)
        try:
            while True:
                await asyncio.sleep(self.random.expovariate(1 / mean_s))
                live = [number for number in self.swarm.peers if self.swarm.is_alive(number)]
                task = asyncio.create_task(self._absence(self.random.choice(live)))
                self._absences.add(task)
                task.add_done_callback(self._absences.discard)
        finally:
            for task in self._absences:
                task.cancel()

    async def _absence(self, number: int) -> None:
        engine = self.swarm.peers[number].engine
        assert engine is not None
        if self.random.random() < 0.5:
            self.goodbyes += 1
            await engine.leave()
        else:
            self.deaths += 1
        self.swarm.kill(number)
        await asyncio.sleep(self.random.uniform(_SHORTEST_ABSENCE_S, _LONGEST_ABSENCE_S))
        if self.random.random() < 0.5:
            self.returns += 1
        else:
            self.newcomers += 1
            self.swarm.forget(number)
            number, self._next_number = self._next_number, self._next_number + 1
        await self.swarm.begin(number)
