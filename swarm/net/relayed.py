"""A transport that also reaches peers nobody can dial, and lets itself be reached when it is one.

    a peer that says it can be dialled, or is connected to this one already     as the transport below does it
    a peer that cannot be dialled                                               through a relay that it names, and
                                                                                for many bytes directly (punch.py),
                                                                                where both routers let that happen

A peer that cannot be dialled keeps a stream parked at each of its relays (relay.py). Whoever asks for it there is
joined to that stream, proves who it is (circuit.py), and is served like any other stream that came in.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import NoReturn, Protocol

from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net import circuit, wire
from swarm.net.audited import AuditedStream
from swarm.net.calls import Caller
from swarm.net.circuit import Circuit
from swarm.net.transport import Stream, StreamHandler, StreamLostError, Transport

PARK_LIMIT_S = 5.0
RETRY_S = 2.0
MAX_SERVED = 64
"""Relayed streams served at once; nothing is parked while there are so many."""
_NO_PUNCH_S = 600.0
"""How long a peer is reached through relays after a direct connection to it could not be made."""


class Below(Transport, Protocol):
    """What this is built on."""

    async def is_connected(self, peer: PeerId) -> bool:
        """Whether streams to a peer need no dialling."""
        ...

    def lane_again(self, peer: PeerId) -> Stream | None:
        """A stream on a direct connection that is there already."""
        ...

    async def punch(self, circuit: Circuit, host: str) -> Stream:
        """Makes a direct connection with the other end; `host` is where others see this one. Raises StreamLostError."""
        ...

    async def be_punched(self, circuit: Circuit, host: str) -> None:
        """The other side of that. Raises StreamLostError."""
        ...


class Relayed:
    """`Below` and relays."""

    def __init__(self, below: Below, caller: Caller, identity: Identity, run_id: str) -> None:
        """`caller` opens streams by `below` alone."""
        self.announced: Callable[[], Mapping[PeerId, wire.Announcement]] = dict
        """Where peers say whether they can be dialled, and who their relays are; whoever knows them sets it."""
        self.lost: Callable[[], None] = lambda: None
        """Told when a stream parked at a relay is lost, as when the relay dies."""
        self.host = ""
        self._no_punch_until_s: dict[PeerId, float] = {}
        self._below = below
        self._caller = caller
        self._identity = identity
        self._run_id = run_id
        self._handler: StreamHandler | None = None
        self._parked: dict[PeerId, asyncio.Task[NoReturn]] = {}
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def peer_id(self) -> PeerId:
        return self._below.peer_id

    @property
    def rates_bps(self) -> tuple[int, int]:
        return self._below.rates_bps

    async def measure(self) -> None:
        await self._below.measure()

    async def serve(self, handler: StreamHandler) -> None:
        self._handler = handler
        await self._below.serve(handler)

    async def open(self, peer: PeerId) -> Stream:
        relays = self._relays_of(peer)
        if not relays or await self._below.is_connected(peer):
            return await self._below.open(peer)
        return await self._through(relays, peer)

    async def open_bulk(self, peer: PeerId) -> Stream:
        relays = self._relays_of(peer)
        if not relays:
            return await self._below.open_bulk(peer)
        return await self._direct(relays, peer) or await self.open(peer)

    async def _direct(self, relays: Sequence[PeerId], peer: PeerId) -> Stream | None:
        """A stream on a direct connection, if there is one or one can be made."""
        lane = self._below.lane_again(peer)
        if lane is not None or not self.host or monotonic_s() < self._no_punch_until_s.get(peer, 0.0):
            return lane
        try:
            arranging = await self._through(relays, peer, punches=True)
            try:
                return await self._below.punch(arranging, self.host)
            finally:
                arranging.close()
        except (StreamLostError, ProtocolError, TimeoutError):
            now_s = monotonic_s()
            self._no_punch_until_s = {each: at_s for each, at_s in self._no_punch_until_s.items() if at_s > now_s}
            self._no_punch_until_s[peer] = now_s + _NO_PUNCH_S
            return None

    def _relays_of(self, peer: PeerId) -> Sequence[PeerId]:
        """The relays of a peer that cannot be dialled; none for one that can, and where nothing is known."""
        entry = self.announced().get(peer)
        if entry is None or entry.dialable:
            return ()
        # Those of the peer's own region first: what must not cross a border goes through no others.
        others = [relay for relay in entry.relays if relay != self.peer_id]
        return sorted(others, key=lambda relay: self._region_of(relay) != entry.region)

    def _region_of(self, relay: PeerId) -> str:
        """Where a relay is; empty for one that announces nothing: then nothing goes through it that must not cross."""
        entry = self.announced().get(relay)
        return "" if entry is None else entry.region

    async def _through(self, relays: Sequence[PeerId], peer: PeerId, *, punches: bool = False) -> Circuit:
        """A stream by the first relay that has one. Raises StreamLostError."""
        reason = ""
        for relay in relays:
            try:
                stream = await self._caller.open(relay, wire.RelayTo(peer), PARK_LIMIT_S)
            except StreamLostError as error:
                reason = str(error)
                continue
            try:
                region = self._region_of(relay)
                return await circuit.call(stream, self._identity, self._run_id, peer, region=region, punches=punches)
            except (StreamLostError, ProtocolError, TimeoutError) as error:
                stream.close()
                reason = str(error) or f"{peer} did not answer through {relay}"
        raise StreamLostError(f"{peer} cannot be reached through a relay: {reason}")

    # --- being reached ------------------------------------------------------------------------------------------------

    def park_at(self, relays: Sequence[PeerId], host: str) -> None:
        """From now on this peer can be reached through these relays, and no others; it is seen at `host`."""
        self.host = host
        for relay in self._parked.keys() - set(relays):
            self._parked.pop(relay).cancel()
        for relay in relays:
            if relay not in self._parked:
                self._parked[relay] = asyncio.create_task(self._keep_parked(relay))

    async def close(self) -> None:
        """Ends what is parked, and what came by it."""
        tasks = [*self._parked.values(), *self._serving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_parked(self, relay: PeerId) -> NoReturn:
        while True:
            if len(self._serving) >= MAX_SERVED:
                await asyncio.wait(self._serving, return_when=asyncio.FIRST_COMPLETED)
            try:
                stream = await self._caller.open(relay, wire.Park(), PARK_LIMIT_S)
            except StreamLostError:
                await asyncio.sleep(RETRY_S)
                continue
            try:
                opened = await stream.receive(wire.RelayFrom, wire.MAX_REQUEST_BYTES)
            except (StreamLostError, ProtocolError):
                stream.close()
                self.lost()
                await asyncio.sleep(RETRY_S)
                continue
            except asyncio.CancelledError:
                stream.close()
                raise
            self._spawn(self._serve(stream, opened.peer))

    async def _serve(self, stream: AuditedStream, peer: PeerId) -> None:
        try:
            with suppress(StreamLostError, ProtocolError, TimeoutError):  # whoever is there proves nothing, or has left
                region = self._region_of(stream.remote)
                accepted = await circuit.answer(stream, self._identity, self._run_id, peer, region=region)
                if accepted.punches:
                    await self._below.be_punched(accepted, self.host)
                elif self._handler is not None:
                    await self._handler(accepted)
        finally:
            stream.close()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
