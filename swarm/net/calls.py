"""Calling another peer: open a stream, say who we are, ask one thing, within a limit."""

import asyncio
from collections.abc import Coroutine
from types import UnionType
from typing import Any, TypeVar, overload

from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream, AuditedTransport
from swarm.net.transport import StreamLostError
from swarm.sovereignty.permit import Permit

F = TypeVar("F")


class Caller:
    """Opens requests to other peers under one hello."""

    def __init__(self, transport: AuditedTransport, hello: wire.Hello) -> None:
        self._transport = transport
        self._hello = hello

    @property
    def peer_id(self) -> PeerId:
        return self._transport.peer_id

    async def open(
        self, peer: PeerId, request: wire.Frame, limit_s: float, permit: Permit | None = None
    ) -> AuditedStream:
        """A stream on which `request` was sent, under `permit` if it needs one.

        Raises:
            StreamLostError: also when `limit_s` seconds were not enough.
        """
        return await self._opened(self._transport.open(peer), peer, request, limit_s, permit)

    async def open_bulk(self, peer: PeerId, request: wire.Frame, limit_s: float) -> AuditedStream:
        """As `open`, for a request after which many bytes go either way."""
        return await self._opened(self._transport.open_bulk(peer), peer, request, limit_s)

    async def _opened(
        self,
        opening: Coroutine[None, None, AuditedStream],
        peer: PeerId,
        request: wire.Frame,
        limit_s: float,
        permit: Permit | None = None,
    ) -> AuditedStream:
        try:
            async with asyncio.timeout(limit_s):
                stream = await opening
                await self._begin(stream, request, permit)
                return stream
        except TimeoutError:
            raise StreamLostError(f"{peer} did not answer within {limit_s:.1f} s") from None

    @overload
    async def ask(self, peer: PeerId, request: wire.Frame, expected: type[F], max_bytes: int, limit_s: float) -> F: ...
    @overload
    async def ask(
        self, peer: PeerId, request: wire.Frame, expected: UnionType, max_bytes: int, limit_s: float
    ) -> Any: ...
    async def ask(self, peer: PeerId, request: wire.Frame, expected: Any, max_bytes: int, limit_s: float) -> Any:
        """One answer to one request.

        Raises:
            StreamLostError: no answer in time, or the peer is gone.
            ProtocolError: the answer is malformed, or a refusal.
        """
        stream = await self.open(peer, request, limit_s)
        try:
            async with asyncio.timeout(limit_s):
                answer = await stream.receive(expected | wire.Refusal, max_bytes)
        except TimeoutError:
            raise StreamLostError(f"{peer} did not answer within {limit_s:.1f} s") from None
        finally:
            stream.close()
        if isinstance(answer, wire.Refusal):
            raise ProtocolError(f"{peer} refused: {answer.reason}")
        return answer

    async def _begin(self, stream: AuditedStream, request: wire.Frame, permit: Permit | None) -> None:
        """Sends hello and request; whatever stops it, the stream does not stay open."""
        try:
            await stream.send(self._hello)
            await stream.send(request, permit)
        except BaseException:
            stream.close()
            raise
