"""The door on the in-memory network: who breaks a rule loses its stream and is counted, and everyone else is served."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from swarm import events
from swarm.charter import passport as passports
from swarm.charter.passport import Passport, issue
from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.identity.key import Identity
from swarm.net import wire
from swarm.net.audited import AuditedStream, AuditedTransport
from swarm.net.memory import MemoryNetwork, run_virtual
from swarm.net.server import HELLO_LIMIT_S, MAX_STREAMS_PER_PEER, Server
from swarm.net.transport import Stream, StreamLostError
from swarm.sovereignty.gate import Gate
from swarm.sovereignty.labels import Label
from swarm.sovereignty.ledger import Ledger
from swarm.state.run import Run
from tests.simulation import CREATED_S, MEMBER_KEYS, make_charter, peer_identity

RUN = Run(make_charter(3))
HOST, GUEST, ROGUE = (peer_identity(number) for number in (0, 1, 2))
NOW_S = CREATED_S + 1000.0
PLENTY = 10**9
LINGER = wire.GetRecords(1)
"""The dispatch below holds a stream that asks this; it refuses `Prepare` and answers anything else."""


class Door:
    """A server, and raw streams to it."""

    def __init__(self) -> None:
        self.network = MemoryNetwork(3)
        self.seen: list[events.AnyEvent] = []
        self.served: list[wire.Request] = []
        gate = Gate(region="eu", label=Label.OPEN, min_contributors=1)
        transport = self.network.transport(HOST.peer_id)
        self.transport = AuditedTransport(transport, Ledger(None, lambda: 0.0), gate.standing)
        self.server = Server(
            transport=self.transport,
            charter=RUN.charter,
            run_id=RUN.id,
            charter_bytes=b"the charter",
            dispatch=self._dispatch,
            sink=self.seen.append,
            wall_clock=lambda: NOW_S,
        )

    async def _dispatch(self, stream: AuditedStream, request: wire.Request, passport: Passport) -> None:
        self.served.append(request)
        if isinstance(request, wire.Prepare):
            raise ProtocolError("no such round")
        if request == LINGER:
            await stream.receive(wire.Missing, 100)
        await stream.send(wire.Status(0, b"", 1, passport.peer_id))

    async def open(self, identity: Identity) -> Stream:
        return await self.network.transport(identity.peer_id).open(HOST.peer_id)

    def refusals(self) -> list[tuple[str, str]]:
        return [(event.peer, event.reason) for event in self.seen if isinstance(event, events.FrameRefused)]

    async def assert_still_serves(self) -> None:
        stream = await self.open(GUEST)
        await stream.send(wire.encode(hello(GUEST)))
        await stream.send(wire.encode(wire.GetStatus()))
        assert wire.decode(await stream.receive(PLENTY), wire.Status).phase == GUEST.peer_id
        stream.close()


def hello(identity: Identity, *, expires_s: float = NOW_S + 1000, bearer: Identity | None = None) -> wire.Hello:
    peer = (bearer or identity).peer_id
    return wire.Hello(RUN.id, passports.encode(issue(MEMBER_KEYS[0], RUN.charter, peer, "DE", expires_s, CREATED_S)))


def at_the_door(script: Callable[[Door], Coroutine[Any, Any, None]]) -> None:
    """Runs a script, then checks that an honest guest is still served."""

    async def main() -> None:
        door = Door()
        await door.transport.serve(door.server.handle)
        await script(door)
        await door.assert_still_serves()
        assert door.server.refused == len(door.refusals())

    run_virtual(main())


async def ended(stream: Stream) -> list[bytes]:
    """What still comes before the stream closes."""
    frames: list[bytes] = []
    try:
        while True:
            frames.append(await stream.receive(PLENTY))
    except StreamLostError:
        return frames


def test_an_admitted_peer_is_served() -> None:
    async def script(door: Door) -> None:
        await door.assert_still_serves()
        assert door.refusals() == []

    at_the_door(script)


FIRST_FRAMES: dict[str, tuple[bytes, ...]] = {
    "no hello": (wire.encode(wire.GetStatus()),),
    "nonsense": (b"\xc1",),
    "nothing at all": (b"",),
    "an oversized hello": (wire.encode(wire.Hello("", bytes(wire.MAX_HELLO_BYTES))),),
    "deep nesting": (b"\x82\xa1x" + b"\x91" * 5000,),
    "a bent hello": (wire.encode(hello(ROGUE))[:-1],),
    "two hellos": (wire.encode(hello(ROGUE)), wire.encode(hello(ROGUE))),
    "an answer as a request": (wire.encode(hello(ROGUE)), wire.encode(wire.Missing())),
    "a request with text that is no text": (wire.encode(hello(ROGUE)), b"\x81\xa1t\xa1\xff"),
    "a request that dispatch refuses": (
        wire.encode(hello(ROGUE)),
        wire.encode(wire.Prepare(2**60, wire.Ballot(1, ROGUE.peer_id))),
    ),
    "an oversized request": (wire.encode(hello(ROGUE)), bytes(wire.MAX_CONTROL_BYTES + 1)),
    "a stranger's large request": (
        wire.encode(wire.Hello("", b"")),
        wire.encode(wire.PushRecord(bytes(wire.MAX_REQUEST_BYTES))),
    ),
}


@pytest.mark.parametrize("frames", FIRST_FRAMES.values(), ids=FIRST_FRAMES)
def test_whoever_breaks_the_rules_loses_its_stream_and_is_counted(frames: tuple[bytes, ...]) -> None:
    async def script(door: Door) -> None:
        before = await door.open(GUEST)
        stream = await door.open(ROGUE)
        for frame in frames:
            await stream.send(frame)
        assert await ended(stream) == []
        assert [peer for peer, _ in door.refusals()] == [ROGUE.peer_id]
        await before.send(wire.encode(hello(GUEST)))
        await before.send(wire.encode(wire.GetStatus()))
        assert await before.receive(PLENTY)

    at_the_door(script)


@pytest.mark.parametrize("sent", [0, 1], ids=["no hello", "no request"])
def test_a_slow_hello_ends_at_its_deadline(sent: int) -> None:
    async def script(door: Door) -> None:
        stream = await door.open(ROGUE)
        if sent:
            await stream.send(wire.encode(hello(ROGUE)))
        began_s = monotonic_s()
        assert await ended(stream) == []
        assert HELLO_LIMIT_S <= monotonic_s() - began_s < HELLO_LIMIT_S + 0.1
        assert len(door.refusals()) == 1 and "within 10 s" in door.refusals()[0][1]

    at_the_door(script)


def other_run() -> wire.Hello:
    return msgspec.structs.replace(hello(ROGUE), run_id="0" * 64)


def bent_signature() -> wire.Hello:
    signed = passports.decode(hello(ROGUE).passport)
    return wire.Hello(RUN.id, passports.encode(msgspec.structs.replace(signed, signature="00" * 64)))


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (hello(ROGUE, bearer=GUEST), "wrong_peer"),
        (hello(ROGUE, expires_s=CREATED_S + 1.0), "expired"),
        (other_run(), "another run"),
        (bent_signature(), "bad_signature"),
        (wire.Hello(RUN.id, b""), "passport"),
        (wire.Hello(RUN.id, b"{}"), "passport"),
        (wire.Hello(RUN.id, b"\xff" * 100), "passport"),
        (wire.Hello(RUN.id, b"[" * 4000), "passport"),
        (wire.Hello("", b""), "another run"),
    ],
)
def test_who_is_not_admitted_gets_the_charter_and_nothing_else(shown: wire.Hello, reason: str) -> None:
    async def script(door: Door) -> None:
        stream = await door.open(ROGUE)
        await stream.send(wire.encode(shown))
        await stream.send(wire.encode(wire.GetCharter()))
        assert [wire.decode(data, wire.CharterIs).charter for data in await ended(stream)] == [b"the charter"]
        assert door.refusals() == []
        for request in (wire.GetStatus(), wire.GetState(0, (0,)), wire.GetRecords(1)):
            stream = await door.open(ROGUE)
            await stream.send(wire.encode(shown))
            await stream.send(wire.encode(request))
            (answer,) = await ended(stream)
            refusal = wire.decode(answer, wire.Refusal)
            assert refusal.code == "not_admitted" and reason in refusal.reason
        assert len(door.refusals()) == 3 and door.served == []

    at_the_door(script)


def test_a_stranger_that_leaves_before_its_refusal_is_counted_too() -> None:
    async def script(door: Door) -> None:
        stream = await door.open(ROGUE)
        await stream.send(wire.encode(wire.Hello("", b"")))
        await stream.send(wire.encode(wire.GetStatus()))
        stream.close()
        await asyncio.sleep(1)
        assert len(door.refusals()) == 1

    at_the_door(script)


def test_a_flood_of_streams_fills_its_own_share_only() -> None:
    async def script(door: Door) -> None:
        held: list[Stream] = []
        for _ in range(MAX_STREAMS_PER_PEER):
            stream = await door.open(ROGUE)
            await stream.send(wire.encode(hello(ROGUE)))
            await stream.send(wire.encode(LINGER))
            held.append(stream)
        one_more = await door.open(ROGUE)
        assert await ended(one_more) == []
        assert [peer for peer, _ in door.refusals()] == [ROGUE.peer_id]
        await door.assert_still_serves()
        held.pop().close()
        await asyncio.sleep(1)
        again = await door.open(ROGUE)
        await again.send(wire.encode(hello(ROGUE)))
        await again.send(wire.encode(wire.GetStatus()))
        assert await again.receive(PLENTY)

    at_the_door(script)


def test_leaving_is_no_offence() -> None:
    async def script(door: Door) -> None:
        for frames in ((), (hello(ROGUE),), (hello(ROGUE), LINGER)):
            stream = await door.open(ROGUE)
            for frame in frames:
                await stream.send(wire.encode(frame))
            await asyncio.sleep(0.1)
            stream.close()
        await asyncio.sleep(1)
        assert door.refusals() == []

    at_the_door(script)
