"""What is being watched: facts that grow, and who wants to know when they did."""

from swarm.clock import WallClock
from swarm.net.tasks import Signal
from swarm.telemetry.facts import Facts, apply
from swarm.telemetry.seen import Logged, Seen
from swarm.telemetry.view import SILENT_AFTER_S, View, view


class Scene:
    """One watched swarm. `take` is the sink of whatever watches it."""

    def __init__(self, wall_clock: WallClock, *, is_replay: bool = False) -> None:
        """`is_replay`: logs of a run that may be over, for which the time of the last line is now."""
        self._wall_clock = wall_clock
        self._is_replay = is_replay
        self._last_at = 0.0
        self._facts = Facts()
        self.changed = Signal()
        self.version = 0
        """Goes up with everything seen."""

    def take(self, seen: Seen) -> None:
        if isinstance(seen, Logged):
            self._last_at = max(self._last_at, seen.at)
        self._facts = apply(self._facts, seen)
        self.version += 1
        self.changed.fire()

    @property
    def view(self) -> View:
        now_s = self._wall_clock()
        is_over = self._is_replay and now_s - self._last_at > SILENT_AFTER_S
        return view(self._facts, self._last_at if is_over and self._last_at else now_s)
