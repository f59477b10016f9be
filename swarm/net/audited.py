"""The only way to send: a frame needs a permit that covers its kind and its recipient, and is on record before it goes.

Wraps any transport and any directory. It records bytes; whether they may go was the gate's decision.
"""

import asyncio
from collections.abc import Sequence
from types import UnionType
from typing import Any, TypeVar, overload

from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.transport import Directory, RelayedStream, Stream, StreamHandler, StreamLostError, Transport
from swarm.sovereignty.ledger import Ledger
from swarm.sovereignty.permit import Kind, Permit

F = TypeVar("F")

DIRECTORY = "directory"
"""Whom the ledger names for announcements."""
SEND_LIMIT_S = 30.0
"""A peer that reads so slowly that one frame takes longer is lost: what it asked for is not kept for it."""

_KIND_OF: dict[type[wire.Frame], Kind] = {
    wire.Hello: Kind.HELLO,
    wire.Part: Kind.UPDATE,
    wire.Sum: Kind.SUM,
    wire.ChunkResult: Kind.RESULT,
    wire.StateIs: Kind.STATE,
    wire.StateChunk: Kind.STATE,
    wire.RecordIs: Kind.RECORD,
    wire.Committed: Kind.RECORD,
    wire.PushRecord: Kind.RECORD,
    wire.PushRestarts: Kind.RECORD,
    wire.RestartsAre: Kind.RECORD,
    wire.CharterIs: Kind.CHARTER,
    wire.DocumentsAre: Kind.CHARTER,
    wire.PushDocuments: Kind.CHARTER,
    wire.GetDocuments: Kind.REQUEST,
    wire.TimeIs: Kind.CONTROL,
    wire.CastVote: Kind.VOTE,
    wire.AskQuality: Kind.CONTROL,
    wire.CastQuality: Kind.VERDICT,
    wire.NoQuality: Kind.CONTROL,
    wire.PromiseIs: Kind.VOTE,
    wire.NeedRecords: Kind.CONTROL,
    wire.AskVote: Kind.VOTE,
    wire.KeptIs: Kind.CONTROL,
    wire.AllKeptIs: Kind.CONTROL,
    wire.SelfMaskIs: Kind.MASK,
    wire.JoinRound: Kind.CONTROL,
    wire.RosterClosed: Kind.CONTROL,
    wire.Propose: Kind.CONTROL,
    wire.Waiting: Kind.CONTROL,
    wire.Refusal: Kind.CONTROL,
    wire.Missing: Kind.CONTROL,
    wire.Status: Kind.CONTROL,
    wire.CallToAttempt: Kind.REQUEST,
    wire.Prepare: Kind.REQUEST,
    wire.OpenReduce: Kind.REQUEST,
    wire.GetCharter: Kind.REQUEST,
    wire.GetTime: Kind.REQUEST,
    wire.GetStatus: Kind.REQUEST,
    wire.GetResults: Kind.REQUEST,
    wire.GetReduced: Kind.REQUEST,
    wire.GetRecords: Kind.REQUEST,
    wire.GetRestarts: Kind.REQUEST,
    wire.Observe: Kind.REQUEST,
    wire.Observed: Kind.OBSERVED,
    wire.ObservedRecord: Kind.OBSERVED,
    wire.Park: Kind.REQUEST,
    wire.RelayTo: Kind.REQUEST,
    wire.RelayFrom: Kind.CONTROL,
    wire.RelayData: Kind.RELAYED,
    wire.GetState: Kind.REQUEST,
    wire.ShowHead: Kind.EVIDENCE,
    wire.ProveHead: Kind.EVIDENCE,
    wire.HeadProof: Kind.EVIDENCE,
}


class PermitViolationError(AssertionError):
    """A bug: code tried to send what no permit covers. Nothing was sent."""


class AuditedStream:
    """A stream of typed frames whose outgoing side is permitted and recorded."""

    def __init__(self, stream: Stream, ledger: Ledger, standing: Permit) -> None:
        self._stream = stream
        self._ledger = ledger
        self._standing = standing
        self._relay_region = stream.relay_region if isinstance(stream, RelayedStream) else None

    @property
    def remote(self) -> PeerId:
        return self._stream.remote

    async def send(self, frame: wire.Frame, permit: Permit | None = None) -> None:
        """Sends one frame under `permit`, or under the gate's standing permit for protocol frames.

        Raises:
            StreamLostError: the other end is gone, or behind a relay that is abroad, and the frame must not cross.
            StateError: the ledger cannot be written, so nothing was sent.
            PermitViolationError: the permit does not cover it.
        """
        permit = permit or self._standing
        kind = _KIND_OF[type(frame)]
        if not permit.covers(kind, self.remote):
            raise PermitViolationError(f"permit {permit.id} does not cover {kind} to {self.remote}")
        if permit.region and self._relay_region not in (None, permit.region):
            raise StreamLostError(
                f"{self.remote} is reached through a relay outside region {permit.region}, which {permit.id} stays in"
            )
        payload = wire.encode(frame)
        self._ledger.record(self.remote, kind, payload, permit.id)
        try:
            async with asyncio.timeout(SEND_LIMIT_S):
                await self._stream.send(payload)
        except TimeoutError:
            self._stream.close()
            raise StreamLostError(f"{self.remote} took nothing for {SEND_LIMIT_S:.0f} s") from None

    @overload
    async def receive(self, expected: type[F], max_bytes: int) -> F: ...
    @overload
    async def receive(self, expected: UnionType, max_bytes: int) -> Any: ...
    async def receive(self, expected: Any, max_bytes: int) -> Any:
        """The next frame as one of `expected`. Raises StreamLostError or ProtocolError.

        A field that is a memoryview is good until the next frame is received.
        """
        payload = await self._stream.receive(max_bytes)
        self._ledger.received(self.remote, payload)
        return wire.decode(payload, expected)

    def limit_rate(self, bytes_per_s: int | None) -> None:
        """Sends no faster than this from now on; None: as fast as the link takes it."""
        self._stream.limit_rate(bytes_per_s)

    def close(self) -> None:
        self._stream.close()


class AuditedTransport:
    """A transport whose streams are audited; incoming streams are handed over audited too."""

    def __init__(self, transport: Transport, ledger: Ledger, standing: Permit) -> None:
        self._transport = transport
        self._ledger = ledger
        self._standing = standing

    @property
    def peer_id(self) -> PeerId:
        return self._transport.peer_id

    async def open(self, peer: PeerId) -> AuditedStream:
        """Opens a stream. Raises StreamLostError."""
        return self.audit(await self._transport.open(peer))

    async def open_bulk(self, peer: PeerId) -> AuditedStream:
        """Opens a stream for many bytes. Raises StreamLostError."""
        return self.audit(await self._transport.open_bulk(peer))

    @property
    def rates_bps(self) -> tuple[int, int]:
        """Measured bits per second up and down; 0 while nothing has been measured."""
        return self._transport.rates_bps

    async def measure(self) -> None:
        """Measures the link in use, until cancelled."""
        await self._transport.measure()

    async def serve(self, handler: StreamHandler) -> None:
        await self._transport.serve(handler)

    def audit(self, stream: Stream) -> AuditedStream:
        return AuditedStream(stream, self._ledger, self._standing)


class AuditedDirectory:
    """A directory whose announcements are on record."""

    def __init__(self, directory: Directory, ledger: Ledger, standing: Permit) -> None:
        self._directory = directory
        self._ledger = ledger
        self._standing = standing

    async def announce(self, sealed: bytes, lifetime_s: float) -> None:
        self._ledger.record(DIRECTORY, Kind.ANNOUNCE, sealed, self._standing.id)
        await self._directory.announce(sealed, lifetime_s)

    async def announcements(self) -> Sequence[bytes]:
        return await self._directory.announcements()
