"""Nothing leaves without a permit that covers it and a line in the ledger; calling ends in time and leaks no stream."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from swarm.errors import ProtocolError, StateError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import _KIND_OF, AuditedDirectory, AuditedStream, AuditedTransport, PermitViolationError
from swarm.net.calls import Caller
from swarm.net.memory import MemoryNetwork, run_virtual
from swarm.net.transport import Stream, StreamLostError
from swarm.sovereignty.gate import Gate
from swarm.sovereignty.labels import Label
from swarm.sovereignty.ledger import Ledger
from swarm.sovereignty.permit import Kind, Permit
from swarm.vector.grid import Grid
from tests.fuzz.frames import FRAMES

HERE, THERE, ELSEWHERE = PeerId("here"), PeerId("there"), PeerId("elsewhere")
GATE = Gate(region="eu", label=Label.OPEN, min_contributors=1)


class Wiretap:
    """A stream that remembers, together with the ledger's lines, what happened in which order."""

    remote = THERE

    def __init__(self, history: list[str]) -> None:
        self.history = history

    async def send(self, frame: bytes) -> None:
        self.history.append(f"sent {len(frame)}")

    async def receive(self, max_bytes: int) -> bytes:
        raise StreamLostError("nothing comes")

    def close(self) -> None:
        self.history.append("closed")


class WatchedLedger(Ledger):
    def __init__(self, history: list[str], *, is_full: bool = False) -> None:
        super().__init__(None, lambda: 0.0)
        self.history = history
        self.is_full = is_full

    def record(self, peer: str, kind: Kind, payload: bytes, permit_id: str) -> None:
        if self.is_full:
            raise StateError("cannot write the ledger, so nothing may leave")
        super().record(peer, kind, payload, permit_id)
        self.history.append(f"recorded {kind} {len(payload)} {permit_id}")


def update_permit(recipient: PeerId) -> Permit:
    permit = GATE.check_update(
        round_number=4,
        update_N=np.ones(3, np.float32),
        grid=Grid(3, 3),
        max_rms=1.0,
        recipients={recipient: "eu"},
        regions={"eu"},
    )
    assert isinstance(permit, Permit)
    return permit


def test_a_frame_is_on_record_before_it_goes() -> None:
    history: list[str] = []
    stream = AuditedStream(Wiretap(history), WatchedLedger(history), GATE.standing)
    part = wire.Part(0, b"123")
    asyncio.run(stream.send(part, update_permit(THERE)))
    size = len(wire.encode(part))
    assert history == [f"recorded update {size} update/4", f"sent {size}"]


@pytest.mark.parametrize(
    ("frame", "permit"),
    [
        (wire.Part(0, b"123"), None),
        (wire.Part(0, b""), None),
        (wire.Part(0, b"123"), update_permit(ELSEWHERE)),
        (wire.ChunkResult(0, b"\x01", b"123"), None),
        (wire.ChunkResult(0, b"\x01", b"123"), update_permit(THERE)),
        (wire.Missing(), update_permit(THERE)),
    ],
)
def test_what_no_permit_covers_is_neither_sent_nor_recorded(frame: wire.Frame, permit: Permit | None) -> None:
    history: list[str] = []
    stream = AuditedStream(Wiretap(history), WatchedLedger(history), GATE.standing)
    with pytest.raises(PermitViolationError):
        asyncio.run(stream.send(frame, permit))
    assert history == []


def test_with_a_ledger_that_cannot_be_written_nothing_leaves() -> None:
    history: list[str] = []
    ledger = WatchedLedger(history, is_full=True)
    stream = AuditedStream(Wiretap(history), ledger, GATE.standing)
    with pytest.raises(StateError):
        asyncio.run(stream.send(wire.Missing()))

    class Board:
        async def announce(self, sealed: bytes, lifetime_s: float) -> None:
            history.append("announced")

        async def announcements(self) -> Sequence[bytes]:
            return []

    with pytest.raises(StateError):
        asyncio.run(AuditedDirectory(Board(), ledger, GATE.standing).announce(b"sealed", 1.0))
    assert history == [] and not ledger.totals


def test_every_frame_that_travels_has_a_kind() -> None:
    statements = {"Vote", "Join", "Promise", "Roster", "Proposal", "Announcement", "RelayKey", "Value", "Record"}
    statements |= {"QualityVote", "PartsKept", "AllKept", "SelfMask", "Summary"}
    assert {kind.__name__ for kind in FRAMES} - statements == {kind.__name__ for kind in _KIND_OF}
    others = {Kind.ANNOUNCE, Kind.FIGURES, Kind.DECISION}  # to the directory, to services outside, and noted only
    assert set(_KIND_OF.values()) | others == set(Kind)


def calling(network: MemoryNetwork, ledger: Ledger | None = None) -> Caller:
    transport = AuditedTransport(network.transport(HERE), ledger or Ledger(None, lambda: 0.0), GATE.standing)
    return Caller(transport, wire.Hello("run", b""))


async def answer_with(network: MemoryNetwork, *frames: bytes) -> list[bytes]:
    """Serves THERE: reads hello and request, answers, and waits for the other end to close."""
    heard: list[bytes] = []

    async def serve(stream: Stream) -> None:
        heard.extend([await stream.receive(10_000), await stream.receive(10_000)])
        for frame in frames:
            await stream.send(frame)
        await _until_closed(stream)
        heard.append(b"closed")

    await network.transport(THERE).serve(serve)
    return heard


async def _until_closed(stream: Stream) -> None:
    try:
        await stream.receive(10_000)
    except StreamLostError:
        return


async def ask(caller: Caller) -> wire.Status:
    return await caller.ask(THERE, wire.GetStatus(), wire.Status, 1000, 2.0)


def test_an_answer_comes_after_hello_and_request_and_closes_the_stream() -> None:
    async def main() -> None:
        network = MemoryNetwork(1)
        status = wire.Status(3, b"", 1, "")
        heard = await answer_with(network, wire.encode(status))
        assert await ask(calling(network)) == status
        await asyncio.sleep(1)
        assert heard == [wire.encode(wire.Hello("run", b"")), wire.encode(wire.GetStatus()), b"closed"]

    run_virtual(main())


@pytest.mark.parametrize(
    ("frames", "error", "sentence"),
    [
        ((), StreamLostError, "did not answer within 2.0 s"),
        ((wire.encode(wire.Refusal("no", "not you")),), ProtocolError, "refused: not you"),
        ((wire.encode(wire.Missing()),), ProtocolError, "bad frame"),
        ((b"\xff",), ProtocolError, "bad frame"),
        ((bytes(1001),), ProtocolError, "1001 bytes"),
    ],
)
def test_no_answer_and_bad_answers_end_the_call(
    frames: tuple[bytes, ...], error: type[Exception], sentence: str
) -> None:
    async def main() -> None:
        network = MemoryNetwork(1)
        heard = await answer_with(network, *frames)
        with pytest.raises(error, match=sentence):
            await ask(calling(network))
        await asyncio.sleep(1)
        assert heard[-1] == b"closed"

    run_virtual(main())


def test_nobody_there_is_a_lost_stream() -> None:
    async def main() -> None:
        network = MemoryNetwork(1)
        with pytest.raises(StreamLostError):
            await ask(calling(network))
        await answer_with(network)
        network.freeze(THERE)
        with pytest.raises(StreamLostError, match=r"within 2\.0 s"):
            await ask(calling(network))

    run_virtual(main())


def test_a_stream_whose_hello_may_not_leave_is_closed() -> None:
    async def main() -> None:
        network = MemoryNetwork(1)
        ends: list[str] = []

        async def serve(stream: Stream) -> None:
            await _until_closed(stream)
            ends.append("closed")

        await network.transport(THERE).serve(serve)
        with pytest.raises(StateError):
            await ask(calling(network, WatchedLedger([], is_full=True)))
        await asyncio.sleep(1)
        assert ends == ["closed"]

    run_virtual(main())
