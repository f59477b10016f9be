"""The leader's table: who came to which attempt, over which stream, and what each has said since.

A guest keeps its stream open through roster, proposal and vote, so either side sees at once when the other dies.
"""

import asyncio

from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.net.tasks import Signal, all_of
from swarm.net.transport import StreamLostError
from swarm.state.roster import Seat

HEARTBEAT_S = 0.5


class Guest:
    """One peer at this leader's table."""

    def __init__(self, stream: AuditedStream, sealed: wire.Sealed, join: wire.Join, seat: Seat) -> None:
        self._stream = stream
        self.sealed = sealed
        self.join = join
        self.seat = seat
        self.vote: wire.Sealed | None = None
        self.is_lost = False
        self.changed = Signal()
        self.waiting = wire.Waiting(0, 0)

    @property
    def peer(self) -> PeerId:
        return self.seat.peer

    async def attend(self, on_change: Signal) -> None:
        """Heartbeats to the guest and its votes back, until the stream ends. Raises ProtocolError for a bad frame."""
        try:
            await all_of(self._beat(), self._listen(on_change))
        except StreamLostError:
            return
        finally:
            self.is_lost = True
            on_change.fire()

    async def tell(self, frame: wire.Frame) -> None:
        """Sends the guest a frame; a guest that is gone is marked lost."""
        try:
            await self._stream.send(frame)
        except StreamLostError:
            self.is_lost = True

    def dismiss(self) -> None:
        self._stream.close()

    async def _beat(self) -> None:
        while True:
            await self._stream.send(self.waiting)
            await asyncio.sleep(HEARTBEAT_S)

    async def _listen(self, on_change: Signal) -> None:
        while True:
            frame = await self._stream.receive(wire.CastVote, wire.MAX_REQUEST_BYTES)
            self.vote = frame.vote
            on_change.fire()


class Seats:
    """Guests of every open attempt of the open round."""

    def __init__(self) -> None:
        self._guests: dict[tuple[int, wire.Ballot], dict[PeerId, Guest]] = {}
        self.changed = Signal()
        self.first_at_s: dict[tuple[int, wire.Ballot], float] = {}

    def add(self, guest: Guest, now_s: float) -> None:
        """Seats a guest; one that comes again replaces its older stream."""
        key = (guest.join.round, guest.join.ballot)
        self.first_at_s.setdefault(key, now_s)
        table = self._guests.setdefault(key, {})
        before = table.get(guest.peer)
        table[guest.peer] = guest
        if before is not None:
            before.dismiss()
        self.changed.fire()

    def at(self, round_number: int, ballot: wire.Ballot) -> list[Guest]:
        """Guests of one attempt that are still there, in order of peer id."""
        table = self._guests.get((round_number, ballot), {})
        return [table[peer] for peer in sorted(table) if not table[peer].is_lost]

    def waiting_since_s(self, round_number: int, ballot: wire.Ballot) -> float | None:
        """When the first guest of an attempt sat down, if one is still there."""
        return self.first_at_s.get((round_number, ballot)) if self.at(round_number, ballot) else None

    def clear_through(self, round_number: int) -> None:
        """Sends everyone home whose round is over."""
        for key in [key for key in self._guests if key[0] <= round_number]:
            for guest in self._guests.pop(key).values():
                guest.dismiss()
            self.first_at_s.pop(key, None)
