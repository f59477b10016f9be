"""How fast a donor may give: freely between the data phases of rounds, and a small share of its link during them.

Training comes first. A round's data phase uses this peer's whole uplink, so what is given beside it makes the round as
much slower as it takes; a tenth keeps that far below the fifth that a round may lose, and a newcomer still comes
forward in a swarm whose rounds follow each other without a pause. Knows no streams and no pieces.
"""

import asyncio
from collections.abc import Callable

from swarm import events
from swarm.clock import monotonic_s
from swarm.net.tasks import Signal

SHARE = 0.1
"""Of the measured uplink, while a round's data phase is on."""
_UNMEASURED_BPS = 10_000_000
"""What an uplink is taken to carry before any round has measured it."""


class Upload:
    """The uplink of one donor, shared by everybody it gives to."""

    def __init__(self, up_bps: Callable[[], int]) -> None:
        """`up_bps` says what the link was measured to carry, in bits per second; 0 while nothing has been."""
        self._up_bps = up_bps
        self._is_yielding = False
        self._free_s = 0.0
        """When what was let go so far is paid for."""
        self._changed = Signal()

    def see(self, event: events.AnyEvent) -> None:
        """Learns from this peer's own events whether a data phase is on.

        It ends with the round and not when this peer has all results: others may still be taking theirs from it.
        """
        match event:
            case events.RosterReady():
                self._is_yielding = True
            case (
                events.RoundCommitted()
                | events.RoundRejected()
                | events.RoundAborted()
                | events.RoundInDoubt()
                | events.CaughtUp()
            ):
                self._is_yielding = False
                self._free_s = 0.0
                self._changed.fire()
            case _:
                pass

    async def turn(self, size_bytes: int) -> None:
        """Returns when so many bytes may go."""
        if not self._is_yielding:
            return
        rate = SHARE * (self._up_bps() or _UNMEASURED_BPS) / 8
        cost_s = size_bytes / rate
        self._free_s = until_s = max(monotonic_s(), self._free_s) + cost_s
        try:
            while self._is_yielding and (left_s := until_s - monotonic_s()) > 0:
                await self._changed.wait_within(left_s)
        except asyncio.CancelledError:
            self._free_s -= cost_s  # whoever comes and goes again and again costs the others nothing
            raise


def free_upload() -> Upload:
    """For a donor that takes part in no rounds."""
    return Upload(lambda: 0)
