"""The door: every incoming stream says who it is before it may ask, and a stream that breaks the rules is closed.

A stranger without a passport may ask for the charter and the time, and an observer for what `Observe` gives, also of a
peer behind a relay, whose own door then stands before it; neither gets anything else. Refused frames are counted and
shown; they change nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

from swarm import events
from swarm.charter import passport as passports
from swarm.charter.admission import Admitted, Refused, admit
from swarm.charter.manifest import Charter
from swarm.charter.passport import Passport, SignedPassport
from swarm.clock import WallClock
from swarm.errors import PassportError, ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream, AuditedTransport
from swarm.net.transport import Stream, StreamLostError

HELLO_LIMIT_S = 10.0
MAX_STREAMS_PER_PEER = 128
"""Open streams one peer may hold; a stranger's flood fills its own share only."""

Dispatch = Callable[[AuditedStream, wire.Request, Passport], Awaitable[None]]
Judge = Callable[[SignedPassport, PeerId], Admitted | Refused]
Observe = Callable[[AuditedStream, wire.Observe, bool], Awaitable[None]]
"""Told whether who asks is admitted."""


class Server:
    """Admits streams and hands their requests to `dispatch`, which may raise ProtocolError to refuse."""

    def __init__(
        self,
        *,
        transport: AuditedTransport,
        charter: Charter,
        run_id: str,
        charter_bytes: bytes,
        dispatch: Dispatch,
        sink: Callable[[events.AnyEvent], None],
        wall_clock: WallClock,
        observe: Observe | None = None,
        judge: Judge | None = None,
        documents: Callable[[], tuple[bytes, ...]] = tuple,
    ) -> None:
        """`observe` answers those who watch; without it, nobody may.

        `judge` admits by the rules in force; without it, it is the charter as it was founded. `documents` gives the
        amendments and revocations at hand.
        """
        self._transport = transport
        self._charter = charter
        self._run_id = run_id
        self._charter_bytes = charter_bytes
        self._dispatch = dispatch
        self._sink = sink
        self._wall_clock = wall_clock
        self._observe = observe
        self._judge = judge
        self._documents = documents
        self._open: Counter[PeerId] = Counter()
        self.refused = 0

    async def handle(self, raw: Stream) -> None:
        """Serves one incoming stream to its end."""
        stream = self._transport.audit(raw)
        self._open[raw.remote] += 1
        try:
            if self._open[raw.remote] > MAX_STREAMS_PER_PEER:
                raise ProtocolError(f"more than {MAX_STREAMS_PER_PEER} open streams")
            await self._serve(stream)
        except ProtocolError as error:
            self.refused += 1
            self._sink(events.FrameRefused(peer=raw.remote, reason=str(error)))
        except (StreamLostError, TimeoutError):
            return  # the other end left; whoever depends on it notices in its own protocol
        finally:
            stream.close()
            self._open[raw.remote] -= 1
            if not self._open[raw.remote]:
                del self._open[raw.remote]

    async def _serve(self, stream: AuditedStream) -> None:
        passport, request = await self._greet(stream)
        if isinstance(request, wire.GetCharter):
            await stream.send(wire.CharterIs(self._charter_bytes))
        elif isinstance(request, wire.GetTime):
            await stream.send(wire.TimeIs(self._wall_clock()))
        elif isinstance(request, wire.GetDocuments):
            await stream.send(wire.DocumentsAre(self._documents()))
        elif isinstance(request, wire.Observe) and self._observe is not None:
            await self._observe(stream, request, isinstance(passport, Passport))
        elif isinstance(passport, Passport) and passport.role == "observer" and not isinstance(request, wire.RelayTo):
            await _refuse(stream, "an observer takes no part")
            raise ProtocolError(f"an observer asked for {type(request).__name__}")
        elif isinstance(passport, str):
            await _refuse(stream, passport)
            raise ProtocolError(f"not admitted: {passport}")
        else:
            await self._dispatch(stream, request, passport)

    async def _greet(self, stream: AuditedStream) -> tuple[Passport | str, wire.Request]:
        """Who is there (or why not) and what it asks; a stranger's request may only be small."""
        try:
            async with asyncio.timeout(HELLO_LIMIT_S):
                hello = await stream.receive(wire.Hello, wire.MAX_HELLO_BYTES)
                passport = self._admit(hello, stream.remote)
                limit_bytes = wire.MAX_REQUEST_BYTES if isinstance(passport, str) else wire.MAX_CONTROL_BYTES
                return passport, await stream.receive(wire.Request, limit_bytes)
        except TimeoutError:
            raise ProtocolError(f"no hello and request within {HELLO_LIMIT_S:.0f} s") from None

    def _admit(self, hello: wire.Hello, remote: PeerId) -> Passport | str:
        """The passport, or why not."""
        if hello.run_id != self._run_id:
            return "another run"
        try:
            signed = passports.decode(hello.passport)
        except PassportError as error:
            return str(error)
        if self._judge is not None:
            verdict = self._judge(signed, remote)
        else:
            verdict = admit(signed, remote, self._charter, self._run_id, self._wall_clock())
        return verdict.passport if isinstance(verdict, Admitted) else verdict.reason.value


async def _refuse(stream: AuditedStream, reason: str) -> None:
    """Says why; a stranger that is gone already needs no answer."""
    with suppress(StreamLostError):
        await stream.send(wire.Refusal("not_admitted", reason))
