"""The middle of a relayed stream: joins a stream to one that a peer nobody can dial has parked here.

Bootstrap nodes and reachable peers do this for every admitted peer, within bounds. What passes is encrypted between
the two ends (circuit.py), and each frame is on record here as `relayed`, like all that leaves.
"""

from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass

from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.net.transport import StreamLostError

MAX_PARKED = 2
"""Streams one peer may park; it parks the next one as soon as one is used."""
MAX_JOINED_PER_PEER = 8
MAX_JOINED = 64


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

    async def attend(self, stream: AuditedStream, request: wire.Park | wire.RelayTo) -> None:
        """Serves one stream of an admitted peer to its end. Raises ProtocolError or StreamLostError."""
        match request:
            case wire.Park():
                await self._park(stream)
            case wire.RelayTo(peer):
                await self._join(stream, peer)

    async def _park(self, stream: AuditedStream) -> None:
        mine = self._parked[stream.remote]
        if len(mine) >= MAX_PARKED:
            raise ProtocolError(f"more than {MAX_PARKED} parked streams")
        parked = _Parked(stream)
        mine.append(parked)
        try:
            while True:
                data = await stream.receive(wire.RelayData, wire.MAX_RELAYED_BYTES)
                if parked.other is None:
                    raise ProtocolError("words for nobody on a parked stream")
                await parked.other.send(data)
        finally:
            if parked in mine:
                mine.remove(parked)
            if not mine and self._parked.get(stream.remote) is mine:
                del self._parked[stream.remote]
            if parked.other is not None:
                parked.other.close()

    async def _join(self, stream: AuditedStream, peer: PeerId) -> None:
        asker = stream.remote
        if self._joined[asker] >= MAX_JOINED_PER_PEER or self._joined.total() >= MAX_JOINED:
            await stream.send(wire.Refusal("busy", "this relay has too many streams already"))
            return
        parked = await self._take(peer, stream)
        if parked is None:
            await stream.send(wire.Refusal("not_here", f"{peer} has parked no stream here"))
            return
        self._joined[asker] += 1
        try:
            while True:
                await parked.stream.send(await stream.receive(wire.RelayData, wire.MAX_RELAYED_BYTES))
        finally:
            parked.stream.close()
            self._joined[asker] -= 1
            if not self._joined[asker]:
                del self._joined[asker]

    async def _take(self, peer: PeerId, stream: AuditedStream) -> _Parked | None:
        """A parked stream of `peer` whose other end has been told; those that are gone are passed over."""
        while self._parked.get(peer):
            parked = self._parked[peer].pop()
            parked.other = stream
            with suppress(StreamLostError):
                await parked.stream.send(wire.RelayFrom(stream.remote))
                return parked
        return None
