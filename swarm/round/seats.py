"""The leader's table: who came to which attempt, over which stream, and what each has said since.

A guest keeps its stream open through roster, proposal and vote, so either side sees at once when the other dies.
"""

import asyncio
from collections.abc import Set

from swarm.charter.epochs import RulesId
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.net.tasks import Signal, all_of
from swarm.net.transport import StreamLostError
from swarm.state.roster import Seat

HEARTBEAT_S = 0.5
_SAID = wire.CastVote | wire.CastQuality | wire.NoQuality
"""What a guest may say."""
_SEND_LIMIT_S = 60.0
"""A stream on which one frame has not gone out for so long is given up."""


class Guest:
    """One peer at this leader's table."""

    def __init__(self, stream: AuditedStream, sealed: wire.Sealed, join: wire.Join, seat: Seat) -> None:
        self._stream = stream
        self.sealed = sealed
        self.join = join
        self.seat = seat
        self._outbox: asyncio.Queue[wire.Frame | None] = asyncio.Queue()
        self.vote: wire.Sealed | None = None
        self.quality: wire.CastQuality | wire.NoQuality | None = None
        """What it has said of the candidate base, once it has answered."""
        self.is_lost = False
        self.is_dismissed = False
        """This leader ended it; otherwise a guest that is lost has left or died."""
        self.waiting = wire.Waiting(0, 0)

    @property
    def peer(self) -> PeerId:
        return self.seat.peer

    async def attend(self, on_change: Signal) -> None:
        """What is told to the guest, with heartbeats between, and its votes back, until the stream ends.

        Raises:
            ProtocolError: a bad frame.
        """
        try:
            await all_of(self._speak(), self._listen(on_change))
        except StreamLostError:
            return
        finally:
            self.is_lost = True
            on_change.fire()

    def tell(self, frame: wire.Frame) -> None:
        """Sends the guest a frame in its turn; nobody waits for a guest that reads slowly or not at all."""
        self._outbox.put_nowait(frame)

    def dismiss(self) -> None:
        """Ends the stream once all that was told has been sent."""
        self.is_lost = self.is_dismissed = True
        self._outbox.put_nowait(None)

    async def _speak(self) -> None:
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    frame = await self._outbox.get()
            except TimeoutError:
                frame = self.waiting
            if frame is None:
                self._stream.close()
                return
            try:
                async with asyncio.timeout(_SEND_LIMIT_S):
                    await self._stream.send(frame)
            except TimeoutError:
                raise StreamLostError(f"{self.peer} took nothing for {_SEND_LIMIT_S:.0f} s") from None

    async def _listen(self, on_change: Signal) -> None:
        while True:
            frame = await self._stream.receive(_SAID, wire.MAX_REQUEST_BYTES)
            if isinstance(frame, wire.CastVote):
                self.vote = frame.vote
            else:
                self.quality = frame
            on_change.fire()


class Seats:
    """Guests of every open attempt of the open round."""

    def __init__(self) -> None:
        self._guests: dict[tuple[int, wire.Ballot], dict[PeerId, Guest]] = {}
        self.changed = Signal()
        self._came_at_s: dict[tuple[int, wire.Ballot], dict[PeerId, float]] = {}
        """When each guest of an attempt sat down first, in that order."""

    def add(self, guest: Guest, now_s: float) -> bool:
        """Seats a guest. One that comes again replaces its older stream; False then."""
        key = (guest.join.round, guest.join.ballot)
        table = self._guests.setdefault(key, {})
        before = table.get(guest.peer)
        if before is None:
            self._came_at_s.setdefault(key, {})[guest.peer] = now_s
        table[guest.peer] = guest
        if before is not None:
            before.dismiss()
        self.changed.fire()
        return before is None

    def at(self, round_number: int, ballot: wire.Ballot) -> list[Guest]:
        """Guests of one attempt that are still there, in order of peer id."""
        table = self._guests.get((round_number, ballot), {})
        return [table[peer] for peer in sorted(table) if not table[peer].is_lost]

    def waiting_since_s(
        self, round_number: int, ballot: wire.Ballot, electors: Set[PeerId], guests: int
    ) -> float | None:
        """When so many electors had come to an attempt, if they did and any guest is still there."""
        came = self._came_at_s.get((round_number, ballot), {})
        came_at_s = [at_s for peer, at_s in came.items() if peer in electors]
        if len(came_at_s) < guests or not self.at(round_number, ballot):
            return None
        return came_at_s[guests - 1]

    def join_spread_s(self, round_number: int, ballot: wire.Ballot, leader_s: float, early_s: float) -> float:
        """Seconds from the first join of an attempt to the last, its leader's (at `leader_s`) included.

        How long the leader then waited for somebody who never came says nothing about how long joining takes, nor does
        how much too early who came before `early_s` was.
        """
        came_at_s = [leader_s, *self._came_at_s.get((round_number, ballot), {}).values()]
        return max(0.0, max(came_at_s) - max(min(came_at_s), early_s))

    def send_home(self, rules: RulesId, frame: wire.Frame) -> None:
        """Ends what was joined under other rules than these, with a last frame that says which are to be followed."""
        for key, table in self._guests.items():
            for guest in [guest for guest in table.values() if guest.join.rules != rules]:
                guest.tell(frame)
                guest.dismiss()
                del table[guest.peer]
                self._came_at_s.get(key, {}).pop(guest.peer, None)
        self.changed.fire()

    def clear_before(self, round_number: int, attempt: int) -> None:
        """Sends everyone home who waits for an earlier round, or for an attempt this peer will not lead any more."""
        for key in [key for key in self._guests if (key[0], key[1].attempt) < (round_number, attempt)]:
            for guest in self._guests.pop(key).values():
                guest.dismiss()
            self._came_at_s.pop(key, None)
