"""What the time from a command to its peer's first counted contribution went into, read off the node's own events.

The parts follow one another and add up; what runs beside them (the trainer imports while the node finds the swarm)
shows only where it is waited for. Does no I/O.
"""

from collections.abc import Callable

from swarm import events


class Startup:
    """One start, from `began_s` on `clock` to the first `RoundCommitted` that counts this peer."""

    def __init__(self, began_s: float, clock: Callable[[], float]) -> None:
        """Now the node has imported what it needs."""
        self._clock = clock
        self._began_s = self._lap_s = began_s
        self._peer = ""
        self._parts_s: dict[str, float] = {}
        self.trainer_imports_s = 0.0
        """As the built-in trainer says it; 0 for somebody's own script."""
        self._end("imports")

    def reached(self) -> None:
        """The daemon runs, and one of those given to join is connected."""
        self._end("daemon")

    def see(self, event: events.AnyEvent) -> events.FirstCounted | None:
        """Takes every event of the node in order; the one that is due after the first counted contribution, once."""
        match event:
            case events.CharterReady():
                self._end("charter")
            case events.NodeStarted():
                self._peer = event.peer
                self._end("directory")
            case events.StateReady():
                self._end("state")
            case events.UpdateReady() if "steps" not in self._parts_s:
                self._end("steps")
            case events.RoundCommitted() if self._peer in event.contributors and "round" not in self._parts_s:
                self._end("round")
                return self._counted(event.round)
            case _:
                pass
        return None

    def _end(self, part: str) -> None:
        now_s = self._clock()
        self._parts_s[part] = now_s - self._lap_s
        self._lap_s = now_s

    def _counted(self, round_number: int) -> events.FirstCounted:
        part_s = self._parts_s
        return events.FirstCounted(
            round=round_number,
            seconds=self._lap_s - self._began_s,
            imports_s=part_s["imports"],
            daemon_s=part_s.get("daemon", 0.0),
            charter_s=part_s.get("charter", 0.0),
            directory_s=part_s.get("directory", 0.0),
            state_s=part_s.get("state", 0.0),
            steps_s=part_s.get("steps", 0.0),
            round_s=part_s["round"],
            trainer_imports_s=self.trainer_imports_s,
        )
