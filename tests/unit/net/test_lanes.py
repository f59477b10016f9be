"""Direct lanes over loopback: who may open one, and what damaged, replayed or endless bytes come to."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
import pytest

from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import lanes as lane_module
from swarm.net.lanes import ID_BYTES, KEY_BYTES, MAX_TICKET_BYTES, TICKET_LIFETIME_S, Lanes, Ticket
from swarm.net.transport import Stream, StreamLostError

HOST = "127.0.0.1"
HERE, THERE = PeerId("dialler"), PeerId("listener")
LIMIT_S = 20.0


class Door:
    """A listener that echoes frames until its stream ends, and remembers whom it served and what it refused."""

    def __init__(self) -> None:
        self.lanes = Lanes()
        self.served: list[PeerId] = []
        self.refused: list[str] = []
        self.max_bytes = 10_000

    async def open(self) -> None:
        self.lanes.serve(self._echo)
        await self.lanes.listen([HOST])

    def ticket(self) -> Ticket:
        return self.lanes.ticket_for(HERE, [])

    async def _echo(self, stream: Stream) -> None:
        self.served.append(stream.remote)
        try:
            while True:
                await stream.send(bytes(await stream.receive(self.max_bytes)))
        except StreamLostError:
            return
        except ProtocolError as error:
            self.refused.append(str(error))


class Relay:
    """A man in the middle: keeps what the dialler says, and may change it."""

    def __init__(self, port: int) -> None:
        self.said = bytearray()
        self.change: Callable[[bytearray], None] = lambda data: None
        self._port = port
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def open(self) -> int:
        self._server = await asyncio.start_server(self._relay, HOST, 0)
        return self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HOST, self._port)
        self._writers += [writer, far_writer]
        back = asyncio.create_task(self._pump(far_reader, writer))
        with suppress(OSError):
            while data := bytearray(await reader.read(65_536)):
                self.said += data
                self.change(data)
                far_writer.write(data)
        far_writer.close()
        await back

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()


def run(scenario: Callable[[Door, Lanes], Awaitable[None]]) -> None:
    """A scenario between a door and somebody outside it, on a real loop."""

    async def main() -> None:
        door, outside = Door(), Lanes()
        await door.open()
        try:
            async with asyncio.timeout(LIMIT_S):
                await scenario(door, outside)
        finally:
            await outside.close()
            await door.lanes.close()
            for _ in range(10):  # transports that were closed take a few turns of the loop to be gone
                await asyncio.sleep(0)

    asyncio.run(main())


def at_port(ticket: Ticket, port: int) -> Ticket:
    return msgspec.structs.replace(ticket, addresses=((HOST, port),))


def port_of(ticket: Ticket) -> int:
    return ticket.addresses[0][1]


async def said(stream: Stream, frame: bytes) -> bytes:
    await stream.send(frame)
    return bytes(await stream.receive(10_000))


def test_who_has_a_ticket_is_the_peer_it_was_given_to() -> None:
    async def scenario(door: Door, outside: Lanes) -> None:
        lane = await outside.dial(THERE, door.ticket())
        assert lane.remote == THERE
        for frame in (b"x", os.urandom(9_999), b"last"):
            assert await said(lane, frame) == frame
        assert door.served == [HERE]

    run(scenario)


def test_a_limited_lane_sends_no_faster_than_its_limit() -> None:
    async def scenario(door: Door, outside: Lanes) -> None:
        door.max_bytes = 3_000_000
        lane = await outside.dial(THERE, door.ticket())

        async def seconds_for(count: int) -> float:
            began_s = monotonic_s()
            await lane.send(os.urandom(count))
            assert len(await lane.receive(door.max_bytes)) == count
            return monotonic_s() - began_s

        lane.limit_rate(4_000_000)
        assert await seconds_for(2_400_000) > 0.3  # the first burst, ten packets of 64 KiB here, is not paced
        lane.limit_rate(None)
        assert min([await seconds_for(2_400_000) for _ in range(5)]) < 0.3

    run(scenario)


def test_a_ticket_fits_in_what_its_asker_reads_and_no_two_are_alike() -> None:
    async def scenario(door: Door, _outside: Lanes) -> None:
        tickets = [door.ticket() for _ in range(3)]
        assert len({ticket.secret for ticket in tickets}) == len({ticket.id for ticket in tickets}) == 3
        assert all(len(ticket.secret) == KEY_BYTES for ticket in tickets)
        assert len(msgspec.msgpack.encode(tickets[0])) <= MAX_TICKET_BYTES

    run(scenario)


@pytest.mark.parametrize("wrong", ["id", "secret"])
def test_a_wrong_ticket_opens_nothing(wrong: str) -> None:
    """A wrong id is refused at the door; with a wrong secret not one frame can be sealed."""

    async def scenario(door: Door, outside: Lanes) -> None:
        size = ID_BYTES if wrong == "id" else KEY_BYTES
        forged = msgspec.structs.replace(door.ticket(), **{wrong: os.urandom(size)})
        with pytest.raises((StreamLostError, ProtocolError)):
            await said(await outside.dial(THERE, forged), b"let me in")
        assert door.served == [] if wrong == "id" else door.refused == ["a frame on a lane that its peer did not seal"]

    run(scenario)


def test_an_expired_ticket_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(door: Door, outside: Lanes) -> None:
        ticket = door.ticket()
        now_s = lane_module.monotonic_s()
        monkeypatch.setattr(lane_module, "monotonic_s", lambda: now_s + TICKET_LIFETIME_S + 1)
        with pytest.raises(StreamLostError, match="cannot be dialled"):
            await outside.dial(THERE, ticket)
        await outside.dial(THERE, door.ticket())  # a fresh one is good, and clears the old ones away
        assert len(door.lanes._given) == 1

    run(scenario)


def test_only_so_many_tickets_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "_MAX_TICKETS", 4)

    async def scenario(door: Door, outside: Lanes) -> None:
        first, *_, last = [door.ticket() for _ in range(9)]
        assert len(door.lanes._given) == 4
        await outside.dial(THERE, last)
        with pytest.raises(StreamLostError):
            await Lanes().dial(THERE, first)

    run(scenario)


@pytest.mark.parametrize("where", ["length", "body", "tag"])
def test_a_tampered_frame_is_refused(where: str) -> None:
    async def scenario(door: Door, outside: Lanes) -> None:
        ticket = door.ticket()
        relay = Relay(port_of(ticket))
        lane = await outside.dial(THERE, at_port(ticket, await relay.open()))
        assert await said(lane, b"before") == b"before"

        def change(data: bytearray) -> None:
            data[{"length": 0, "body": 6, "tag": len(data) - 1}[where]] ^= 1

        relay.change = change
        await lane.send(b"changed on the way")  # a longer length takes its missing byte from the frame after it
        with suppress(StreamLostError):
            await lane.send(b"and what comes after it")
        with pytest.raises((StreamLostError, ProtocolError)):
            for _ in range(2):  # both may have travelled together, and the second been the one that was changed
                await lane.receive(10_000)
        lane.close()
        relay.close()
        assert door.refused == ["a frame on a lane that its peer did not seal"]

    run(scenario)


def test_a_replayed_connection_says_nothing() -> None:
    """All that a dialler ever sent, sent again: the listener's own nonce is another, and so are the keys."""

    async def scenario(door: Door, outside: Lanes) -> None:
        ticket = door.ticket()
        relay = Relay(port_of(ticket))
        lane = await outside.dial(THERE, at_port(ticket, await relay.open()))
        assert await said(lane, b"pay once") == b"pay once"
        reader, writer = await asyncio.open_connection(HOST, port_of(ticket))
        writer.write(relay.said)
        nonce = await reader.readexactly(ID_BYTES)
        assert await reader.read() in (b"", nonce)  # it is closed without an echo
        writer.close()
        relay.close()
        assert door.refused == ["a frame on a lane that its peer did not seal"]

    run(scenario)


def test_frames_out_of_their_order_are_refused() -> None:
    """The same sealed bytes a second time on the same connection: the number they were sealed under has passed."""

    async def scenario(door: Door, outside: Lanes) -> None:
        ticket = door.ticket()
        relay = Relay(port_of(ticket))
        lane = await outside.dial(THERE, at_port(ticket, await relay.open()))
        relay.change = lambda data: data.extend(data)
        await lane.send(b"once")
        assert bytes(await lane.receive(100)) == b"once"
        with pytest.raises(StreamLostError):
            await lane.receive(100)
        lane.close()
        relay.close()
        assert door.refused == ["a frame on a lane that its peer did not seal"]

    run(scenario)


def test_a_frame_that_is_too_long_is_refused_before_it_is_read() -> None:
    async def scenario(door: Door, outside: Lanes) -> None:
        lane = await outside.dial(THERE, door.ticket())
        door.max_bytes = 100
        with pytest.raises((StreamLostError, ProtocolError)):
            await said(lane, bytes(101))
        assert door.refused == ["a frame of 101 bytes where at most 100 are allowed"]

    run(scenario)


def test_a_flood_of_half_open_greetings_is_bounded_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects and says nothing, or half of it, takes a place for a moment; the door stays usable after it."""
    monkeypatch.setattr(lane_module, "_MAX_GREETING", 8)
    monkeypatch.setattr(lane_module, "_GREETING_LIMIT_S", 0.3)

    async def scenario(door: Door, outside: Lanes) -> None:
        ticket = door.ticket()
        flood = [await asyncio.open_connection(HOST, port_of(ticket)) for _ in range(30)]
        for number, (_, writer) in enumerate(flood):
            if number % 2:
                writer.write(ticket.id[: number % ID_BYTES])
        ended = await asyncio.gather(*(reader.read() for reader, _ in flood), return_exceptions=True)
        assert all(end == b"" or isinstance(end, ConnectionResetError) for end in ended)
        assert door.lanes._greeting == 0
        assert await said(await outside.dial(THERE, ticket), b"still here") == b"still here"
        for _, writer in flood:
            writer.close()

    run(scenario)


def test_garbage_at_the_door_is_closed() -> None:
    async def scenario(door: Door, _outside: Lanes) -> None:
        for garbage in (os.urandom(2 * ID_BYTES), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3):
            reader, writer = await asyncio.open_connection(HOST, port_of(door.ticket()))
            writer.write(garbage)
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
        assert door.served == []

    run(scenario)


def test_where_nothing_listens_dialling_fails_at_once() -> None:
    """`LibP2PTransport.open_bulk` goes back to libp2p then."""

    async def scenario(door: Door, outside: Lanes) -> None:
        ticket = door.ticket()
        await door.lanes.close()
        with pytest.raises(StreamLostError, match="cannot be dialled directly"):
            await outside.dial(THERE, ticket)
        with pytest.raises(StreamLostError, match="cannot be dialled directly"):
            await outside.dial(THERE, msgspec.structs.replace(ticket, addresses=()))

    run(scenario)


def test_the_next_stream_goes_over_the_same_connection() -> None:
    async def scenario(door: Door, outside: Lanes) -> None:
        ticket = door.ticket()
        ports: set[object] = set()
        for number in range(5):
            lane = await outside.dial(THERE, ticket)
            frame = b"stream %d" % number
            assert await said(lane, frame) == frame
            ports.add(lane._connection.socket.getsockname())
            lane.close()
            await lane.done
            await asyncio.sleep(0)
        assert len(ports) == 1 and door.served == [HERE] * 5

    run(scenario)


def test_what_was_left_unread_of_one_stream_is_not_in_the_next() -> None:
    async def scenario(door: Door, outside: Lanes) -> None:
        ticket = door.ticket()
        lane = await outside.dial(THERE, ticket)
        for number in range(20):
            await lane.send(b"unread %d" % number)
        lane.close()
        await lane.done
        again = await outside.dial(THERE, ticket)
        assert await said(again, b"mine") == b"mine"
        with pytest.raises(StreamLostError):
            await lane.send(b"from a stream that was closed")

    run(scenario)


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_stream_closed_under_its_reader_leaves_nothing_behind(is_cancelled: bool) -> None:
    async def scenario(door: Door, outside: Lanes) -> None:
        lane = await outside.dial(THERE, door.ticket())
        await lane.send(b"one")
        assert await lane.receive(10) == b"one"
        reading = asyncio.create_task(lane.receive(10))
        await asyncio.sleep(0)
        if is_cancelled:
            reading.cancel()  # it lets go of the connection a turn later
        lane.close()
        with pytest.raises(asyncio.CancelledError if is_cancelled else StreamLostError):
            await reading
        await lane.done
        again = await outside.dial(THERE, door.ticket())
        await again.send(b"two")
        assert await again.receive(10) == b"two"

    run(scenario)


def test_idle_connections_to_peers_that_never_come_again_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every peer that left for good would cost a descriptor for ever: only its next stream would look at it."""

    async def idle_after(outside: Lanes, peer: PeerId, ticket: Ticket) -> int:
        lane = await outside.dial(peer, ticket)
        assert await said(lane, b"x") == b"x"
        lane.close()
        await lane.done
        while peer not in outside.idle_peers:  # noqa: ASYNC110 - a connection that comes back sets no event
            await asyncio.sleep(0)
        return len(outside.idle_peers)

    async def scenario(door: Door, outside: Lanes) -> None:
        assert await idle_after(outside, PeerId("left for good"), door.ticket()) == 1
        assert await idle_after(outside, THERE, door.ticket()) == 2
        later_s = 2 * lane_module._IDLE_LIMIT_S
        monkeypatch.setattr(lane_module, "monotonic_s", lambda: monotonic_s() + later_s)
        assert await idle_after(outside, PeerId("another"), door.ticket()) == 1

    run(scenario)
