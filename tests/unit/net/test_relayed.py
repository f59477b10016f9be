"""Streams to peers nobody can dial, on the in-memory network: they arrive, the relay reads nothing and is bounded."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import numpy as np
import pytest

from swarm.charter import passport as passports
from swarm.charter.passport import Passport, issue
from swarm.errors import ProtocolError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream, AuditedTransport
from swarm.net.calls import Caller
from swarm.net.circuit import Circuit
from swarm.net.memory import MemoryNetwork, MemoryTransport, run_virtual
from swarm.net.relay import MAX_JOINED_OBSERVERS, MAX_JOINED_PER_PEER, MAX_PARKED, Relay
from swarm.net.relayed import Relayed
from swarm.net.server import Server
from swarm.net.transport import Stream, StreamLostError
from swarm.sovereignty.gate import Gate
from swarm.sovereignty.labels import Label
from swarm.sovereignty.ledger import Ledger
from swarm.sovereignty.permit import Kind, Permit
from swarm.state.run import Run
from tests.simulation import CREATED_S, MEMBER_KEYS, make_charter, peer_identity

RUN = Run(make_charter(4))
HUB, BO, CY, MALLORY = (peer_identity(number) for number in range(4))
NOW_S = CREATED_S + 1000.0
SECRET = b"what only bo and cy may read, " * 40_000
PLENTY = 10**7


class Below(MemoryTransport):
    arranged: list[str]
    """In memory nobody is connected to a peer that it could not dial, and no router lets anybody through."""

    async def is_connected(self, peer: PeerId) -> bool:
        return False

    def lane_again(self, peer: PeerId) -> None:
        return None

    async def punch(self, circuit: Circuit, host: str) -> Stream:
        self.arranged = [host]
        await circuit.send(host.encode())
        raise StreamLostError("routers that choose another port each time")

    async def be_punched(self, circuit: Circuit, host: str) -> None:
        self.arranged = [host, bytes(await circuit.receive(100)).decode()]


class Node:
    """One peer: a server that echoes, a relay for others, and relays for itself."""

    def __init__(self, network: MemoryNetwork, identity: Identity, *, dialable: bool, relay: Relay | None) -> None:
        self.ledger = Ledger(None, lambda: 0.0)
        network.transport(identity.peer_id, dialable=dialable)
        below = self.below = Below(network, identity.peer_id)
        standing = Gate(region="eu", label=Label.OPEN, min_contributors=1).standing
        signed = issue(MEMBER_KEYS[0], RUN.charter, identity.peer_id, "DE", NOW_S + 1000, CREATED_S)
        self.caller = Caller(
            AuditedTransport(below, self.ledger, standing), wire.Hello(RUN.id, passports.encode(signed))
        )
        self.relayed = Relayed(below, self.caller, identity, RUN.id)
        self.relayed.announced = lambda: ENTRIES
        self.transport = AuditedTransport(self.relayed, self.ledger, standing)
        self.relay = relay or Relay()
        self.served: list[PeerId] = []
        self.server = Server(
            transport=self.transport,
            charter=RUN.charter,
            run_id=RUN.id,
            charter_bytes=b"",
            dispatch=self._dispatch,
            sink=lambda event: None,
            wall_clock=lambda: NOW_S,
        )

    async def _dispatch(self, stream: AuditedStream, request: wire.Request, passport: Passport) -> None:
        if isinstance(request, wire.Park | wire.RelayTo):
            await self.relay.attend(stream, request, is_observer=passport.role == "observer")
            return
        self.served.append(passport.peer_id)
        while True:
            await stream.send(await stream.receive(wire.CharterIs, PLENTY))

    async def hello(self, peer: PeerId) -> AuditedStream:
        """A stream to a peer on which it echoes."""
        stream = await self.transport.open(peer)
        await stream.send(self.caller._hello)
        await stream.send(wire.GetStatus())
        return stream


def entry(identity: Identity, *, dialable: bool, relays: tuple[PeerId, ...] = ()) -> wire.Announcement:
    return wire.Announcement(
        run_id=RUN.id,
        peer=identity.peer_id,
        region="eu",
        passport=b"",
        addresses=(),
        round=1,
        tokens=0,
        tokens_per_s=0.0,
        phase="training",
        at=NOW_S,
        dialable=dialable,
        relays=relays,
    )


ENTRIES = {
    HUB.peer_id: entry(HUB, dialable=True),
    BO.peer_id: entry(BO, dialable=False, relays=(HUB.peer_id,)),
    CY.peer_id: entry(CY, dialable=False, relays=(HUB.peer_id,)),
}


class Crew:
    """A hub, and two that nobody can dial."""

    def __init__(self, relay: Relay | None = None) -> None:
        self.network = MemoryNetwork(1)
        self.hub = Node(self.network, HUB, dialable=True, relay=relay)
        self.bo = Node(self.network, BO, dialable=False, relay=None)
        self.cy = Node(self.network, CY, dialable=False, relay=None)

    async def __aenter__(self) -> "Crew":
        for node in (self.hub, self.bo, self.cy):
            await node.transport.serve(node.server.handle)
        self.cy.relayed.park_at([HUB.peer_id], "")
        await asyncio.sleep(1.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        for node in (self.hub, self.bo, self.cy):
            await node.relayed.close()


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_virtual(scenario())


def test_frames_of_any_length_arrive_and_the_relay_reads_none() -> None:
    async def scenario() -> None:
        crew = Crew()
        passed: list[bytes] = []
        crew.network.on_frame = lambda source, target, data: passed.append(data)
        async with crew:
            stream = await crew.bo.hello(CY.peer_id)
            for words in (SECRET, b"", b"x"):
                await stream.send(wire.CharterIs(words))
                assert (await stream.receive(wire.CharterIs, PLENTY)).charter == words
            assert crew.cy.served == [BO.peer_id], "as the one that it proved to be"
            stream.close()
        assert passed and not any(SECRET[:30] in data for data in passed)
        relayed = crew.hub.ledger.totals[Kind.RELAYED]
        assert relayed > 2 * len(SECRET), "the relay has on record what passed, both ways"
        assert crew.bo.ledger.totals[Kind.CHARTER] > len(SECRET) < crew.bo.ledger.totals[Kind.RELAYED]

    run(scenario)


def test_the_next_stream_finds_another_parked_one_and_bulk_takes_the_same_way() -> None:
    async def scenario() -> None:
        async with Crew() as crew:
            for _ in range(3):
                stream = await crew.bo.transport.open_bulk(CY.peer_id)
                await stream.send(crew.bo.caller._hello)
                await stream.send(wire.GetStatus())
                await stream.send(wire.CharterIs(b"again"))
                assert (await stream.receive(wire.CharterIs, PLENTY)).charter == b"again"
                stream.close()
                await asyncio.sleep(0.1)
            assert len(crew.cy.served) == 3

    run(scenario)


def test_streams_that_end_together_leave_the_peer_reachable() -> None:
    async def scenario() -> None:
        async with Crew() as crew:
            streams: list[AuditedStream] = []
            for _ in range(3):
                streams.append(await crew.bo.hello(CY.peer_id))
                await asyncio.sleep(0.1)
            for stream in streams:
                stream.close()
            await asyncio.sleep(10.0)
            assert list(crew.hub.relay._parked) == [CY.peer_id] and not crew.hub.relay._joined
            last = await crew.bo.hello(CY.peer_id)
            await last.send(wire.CharterIs(b"still here"))
            assert (await last.receive(wire.CharterIs, PLENTY)).charter == b"still here"

    run(scenario)


def test_the_loss_of_a_parked_stream_is_told_and_its_use_is_not() -> None:
    async def scenario() -> None:
        async with Crew() as crew:
            told: list[float] = []
            crew.cy.relayed.lost = lambda: told.append(asyncio.get_running_loop().time())
            (await crew.bo.hello(CY.peer_id)).close()
            await asyncio.sleep(10.0)
            assert told == []
            crew.network.kill(HUB.peer_id)
            await asyncio.sleep(60.0)
            assert len(told) == 1, "and not again at each try to park anew"

    run(scenario)


def test_many_bytes_try_to_go_directly_and_take_the_relay_where_routers_do_not_let_them() -> None:
    async def scenario() -> None:
        async with Crew() as crew:
            crew.cy.relayed.host, crew.bo.relayed.host = "198.51.100.7", "203.0.113.9"
            stream = await crew.bo.relayed.open_bulk(CY.peer_id)
            assert stream.remote == CY.peer_id
            await asyncio.sleep(0.1)
            assert crew.bo.below.arranged == ["203.0.113.9"]
            assert crew.cy.below.arranged == ["198.51.100.7", "203.0.113.9"], "over a stream of its own"
            crew.bo.below.arranged = []
            await crew.bo.relayed.open_bulk(CY.peer_id)
            assert crew.bo.below.arranged == [], "what has failed is not tried with every stream"

    run(scenario)


def test_who_has_parked_nothing_cannot_be_reached_and_the_reason_is_said() -> None:
    async def scenario() -> None:
        async with Crew() as crew:
            with pytest.raises(StreamLostError, match="has parked no stream here"):
                await crew.cy.transport.open(BO.peer_id)

    run(scenario)


def test_a_relay_that_dies_is_gone_for_both_and_another_is_found_again_when_it_is_back() -> None:
    async def scenario() -> None:
        async with Crew() as crew:
            stream = await crew.bo.hello(CY.peer_id)
            crew.network.kill(HUB.peer_id)
            with pytest.raises(StreamLostError):
                await stream.receive(wire.CharterIs, PLENTY)
            again = Node(crew.network, HUB, dialable=True, relay=None)
            await again.transport.serve(again.server.handle)
            await asyncio.sleep(10.0)
            stream = await crew.bo.hello(CY.peer_id)
            await stream.send(wire.CharterIs(b"back"))
            assert (await stream.receive(wire.CharterIs, PLENTY)).charter == b"back"

    run(scenario)


class Forging(Relay):
    """A relay that flips a bit in the third frame that comes from a parked stream's other end."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = 0

    async def _join(self, stream: AuditedStream, peer: PeerId, is_observer: bool) -> None:
        forging = self

        class Flipping(AuditedStream):
            async def receive(self, expected: Any, max_bytes: int) -> Any:
                frame = await super().receive(expected, max_bytes)
                forging.frames += 1
                if forging.frames != 3:
                    return frame
                data = bytearray(frame.data)
                data[len(data) // 2] ^= 1
                return wire.RelayData(memoryview(data))

        await super()._join(Flipping(stream._stream, stream._ledger, stream._standing), peer, is_observer)


def test_a_frame_that_the_relay_alters_ends_the_stream() -> None:
    async def scenario() -> None:
        relay = Forging()
        async with Crew(relay) as crew:
            stream = await crew.bo.hello(CY.peer_id)  # its key, its hello, and the request that is altered
            with pytest.raises(StreamLostError):
                await stream.send(wire.CharterIs(b"x"))
                await stream.receive(wire.CharterIs, PLENTY)
            assert relay.frames >= 3 and not crew.cy.served

    run(scenario)


def test_a_relay_that_answers_itself_is_found_out() -> None:
    async def scenario() -> None:
        async with Crew() as crew:
            hub = crew.hub

            async def pretend(stream: AuditedStream, request: wire.Park | wire.RelayTo, *, is_observer: bool) -> None:
                said = wire.decode((await stream.receive(wire.RelayData, PLENTY)).data, wire.Sealed)
                key = wire.unseal(said, wire.RelayKey)
                own = wire.seal(HUB, wire.RelayKey(RUN.id, BO.peer_id, bytes(range(32)), key.key, False))
                await stream.send(wire.RelayData(memoryview(wire.encode_sealed(own))))
                await stream.receive(wire.RelayData, PLENTY)

            hub.relay.attend = pretend  # type: ignore[method-assign]
            with pytest.raises(StreamLostError, match="not who it should be"):
                await crew.bo.transport.open(CY.peer_id)

    run(scenario)


def test_what_one_peer_may_park_and_join_is_bounded() -> None:
    async def scenario() -> None:
        async with Crew() as crew:
            for _ in range(MAX_PARKED - 1):
                await crew.cy.caller.open(HUB.peer_id, wire.Park(), 5.0)
            refused = await crew.cy.caller.open(HUB.peer_id, wire.Park(), 5.0)
            with pytest.raises(StreamLostError):
                await refused.receive(wire.RelayFrom, PLENTY)
            crew.hub.relay._joined[BO.peer_id] = MAX_JOINED_PER_PEER
            with pytest.raises(StreamLostError, match="too many streams"):
                await crew.bo.transport.open(CY.peer_id)

    run(scenario)


def test_an_observer_is_let_through_to_the_door_and_gets_nothing_there_but_what_observers_get() -> None:
    async def scenario() -> None:
        async with Crew() as crew:
            signed = issue(MEMBER_KEYS[0], RUN.charter, MALLORY.peer_id, "DE", NOW_S + 1000, CREATED_S, "observer")
            hello = wire.Hello(RUN.id, passports.encode(signed))
            crew.network.transport(MALLORY.peer_id, dialable=False)
            below = Below(crew.network, MALLORY.peer_id)
            standing = Gate(region="", label=Label.PRIVATE, min_contributors=99).standing
            ledger = Ledger(None, lambda: 0.0)
            watching = Relayed(below, Caller(AuditedTransport(below, ledger, standing), hello), MALLORY, RUN.id)
            watching.announced = lambda: ENTRIES
            caller = Caller(AuditedTransport(watching, ledger, standing), hello)
            answer = await caller.ask(CY.peer_id, wire.GetCharter(), wire.CharterIs, PLENTY, 5.0)
            assert answer == wire.CharterIs(b"")
            with pytest.raises(ProtocolError, match="an observer takes no part"):
                await caller.ask(CY.peer_id, wire.GetStatus(), wire.Status, PLENTY, 5.0)
            assert not crew.cy.served and crew.cy.server.refused == 1
            crew.hub.relay._observing = MAX_JOINED_OBSERVERS
            with pytest.raises(StreamLostError, match="too many streams"):
                await watching.open(CY.peer_id)
            (await crew.bo.hello(CY.peer_id)).close()  # whoever takes part has room

    run(scenario)


def test_who_takes_part_waits_for_a_stream_that_somebody_else_has_just_taken() -> None:
    async def scenario() -> None:
        async with Crew() as crew:
            opening = [asyncio.create_task(crew.bo.hello(CY.peer_id)) for _ in range(4)]
            streams = [await each for each in opening]
            for stream in streams:
                await stream.send(wire.CharterIs(b"still there?"))
                assert await stream.receive(wire.CharterIs, PLENTY) == wire.CharterIs(b"still there?")
            assert crew.cy.served == [BO.peer_id] * 4
            for stream in streams:
                stream.close()
            assert not crew.hub.relay._here[BO.peer_id]

    run(scenario)


def test_a_peer_that_can_be_dialled_is_dialled() -> None:
    async def scenario() -> None:
        async with Crew() as crew:
            stream: Stream = await crew.bo.relayed.open(HUB.peer_id)
            stream.close()
            assert not crew.bo.ledger.totals[Kind.RELAYED]
            with pytest.raises((StreamLostError, ProtocolError)):
                await crew.bo.relayed.open(MALLORY.peer_id)

    run(scenario)


def test_a_single_update_goes_through_no_relay_abroad() -> None:
    """The relay cannot read it; it must not have it all the same, while everything else may pass."""

    async def scenario() -> None:
        grid = RUN.grid
        gate = Gate(region="eu", label=Label.OPEN, min_contributors=3)
        permit = gate.check_update(
            round_number=1,
            update_N=np.zeros(grid.elements, np.float32),
            grid=grid,
            max_rms=1.0,
            recipients={CY.peer_id: "eu"},
            regions={"eu", "asia"},
        )
        small = gate.check_aggregate(members=2, recipient=CY.peer_id, recipient_region="eu")
        enough = gate.check_aggregate(members=3, recipient=CY.peer_id, recipient_region="eu")
        assert isinstance(permit, Permit) and isinstance(small, Permit) and isinstance(enough, Permit)
        part, result = wire.Part(0, memoryview(b"x")), wire.ChunkResult(0, b"1", memoryview(b"x"))
        for region, may in (("eu", True), ("asia", False), ("", False)):
            crew = Crew()
            entries = dict(ENTRIES)
            if region:
                entries[HUB.peer_id] = msgspec.structs.replace(ENTRIES[HUB.peer_id], region=region)
            else:
                del entries[HUB.peer_id]
            crew.bo.relayed.announced = lambda entries=entries: entries
            async with crew:
                stream = await crew.bo.hello(CY.peer_id)
                before = crew.bo.ledger.totals[Kind.UPDATE]
                for frame, leave in ((part, permit), (result, small)):
                    if may:
                        await stream.send(frame, leave)
                        continue
                    with pytest.raises(StreamLostError, match="outside region eu"):
                        await stream.send(frame, leave)
                await stream.send(result, enough)
                assert (crew.bo.ledger.totals[Kind.UPDATE] > before) == may
                stream.close()

    run(scenario)
