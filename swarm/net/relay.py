"""The middle of a relayed stream: joins a stream to one that a peer nobody can dial has parked here.

Bootstrap nodes and reachable peers do this for every admitted peer, within bounds, and for observers where that leaves
room for those that train. What passes is encrypted between the two ends (circuit.py), and each frame is on record here
as `relayed`, like all that leaves.
"""

from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass

from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.net.tasks import Signal
from swarm.net.transport import StreamLostError

MAX_PARKED = 2
"""Streams one peer may park; it parks the next one as soon as one is used."""
MAX_JOINED_PER_PEER = 8
MAX_JOINED = 64
MAX_JOINED_OBSERVERS = 16
"""Of those."""
_FREE_LIMIT_S = 0.5
"""How long who takes part waits for a peer that is here, and whose parked stream somebody else has just been given."""


@dataclass(eq=False)
class _Parked:
    stream: AuditedStream
    other: AuditedStream | None = None
    """The stream it is joined to, once it is."""


class Relay:
    """One node's relay."""

    def __init__(self) -> None:
        self._parked: dict[PeerId, list[_Parked]] = defaultdict(list)
        self._joined: Counter[PeerId] = Counter()
        """Relayed streams by who asked for them."""
        self._here: Counter[PeerId] = Counter()
        """Streams of each peer that are parked or joined."""
        self._came = Signal()
        self._observing = 0
        """How many of them observers asked for."""

    async def attend(
        self, stream: AuditedStream, request: wire.Park | wire.RelayTo, *, is_observer: bool = False
    ) -> None:
        """Serves one stream of an admitted peer or observer to its end. Raises ProtocolError or StreamLostError."""
        match request:
            case wire.Park():
                await self._park(stream)
            case wire.RelayTo(peer):
                await self._join(stream, peer, is_observer)

    async def _park(self, stream: AuditedStream) -> None:
        mine = self._parked[stream.remote]
        if len(mine) >= MAX_PARKED:
            raise ProtocolError(f"more than {MAX_PARKED} parked streams")
        parked = _Parked(stream)
        mine.append(parked)
        self._here[stream.remote] += 1
        self._came.fire()
        try:
            while True:
                data = await stream.receive(wire.RelayData, wire.MAX_RELAYED_BYTES)
                if parked.other is None:
                    raise ProtocolError("words for nobody on a parked stream")
                await parked.other.send(data)
        finally:
            self._here[stream.remote] -= 1
            if not self._here[stream.remote]:
                del self._here[stream.remote]
            if parked in mine:
                mine.remove(parked)
            if not mine and self._parked.get(stream.remote) is mine:
                del self._parked[stream.remote]
            if parked.other is not None:
                parked.other.close()

    async def _join(self, stream: AuditedStream, peer: PeerId, is_observer: bool) -> None:
        asker = stream.remote
        is_full = self._joined[asker] >= MAX_JOINED_PER_PEER or self._joined.total() >= MAX_JOINED
        if is_full or (is_observer and self._observing >= MAX_JOINED_OBSERVERS):
            await stream.send(wire.Refusal("busy", "this relay has too many streams already"))
            return
        if not is_observer:
            await self._until_free(peer)
        parked = await self._take(peer, stream)
        if parked is None:
            await stream.send(wire.Refusal("not_here", f"{peer} has parked no stream here"))
            return
        self._joined[asker] += 1
        self._observing += is_observer
        try:
            while True:
                await parked.stream.send(await stream.receive(wire.RelayData, wire.MAX_RELAYED_BYTES))
        finally:
            parked.stream.close()
            self._observing -= is_observer
            self._joined[asker] -= 1
            if not self._joined[asker]:
                del self._joined[asker]

    async def _until_free(self, peer: PeerId) -> None:
        until_s = monotonic_s() + _FREE_LIMIT_S
        while self._here[peer] and not self._parked.get(peer) and (left_s := until_s - monotonic_s()) > 0:
            await self._came.wait_within(left_s)

    async def _take(self, peer: PeerId, stream: AuditedStream) -> _Parked | None:
        """A parked stream of `peer` whose other end has been told; those that are gone are passed over."""
        while self._parked.get(peer):
            parked = self._parked[peer].pop()
            parked.other = stream
            with suppress(StreamLostError):
                await parked.stream.send(wire.RelayFrom(stream.remote))
                return parked
        return None
