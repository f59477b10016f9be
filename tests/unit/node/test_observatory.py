"""Being watched, on the in-memory network: what observers and strangers are told, and that no update leaves."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal

import pytest
from msgspec.structs import replace

from swarm import events
from swarm.charter import passport as passports
from swarm.charter.manifest import Admission, Charter
from swarm.charter.passport import Passport, issue
from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream, AuditedTransport
from swarm.net.calls import Caller
from swarm.net.memory import MemoryDirectory, run_virtual
from swarm.net.server import Server
from swarm.node import observatory as watched
from swarm.node.announcements import read_announcement
from swarm.node.observatory import Observatory
from swarm.node.portrait import Portrait
from swarm.node.watcher import Watcher, told_by
from swarm.sovereignty.gate import Gate
from swarm.sovereignty.labels import Label
from swarm.sovereignty.ledger import Ledger
from swarm.sovereignty.permit import Kind
from swarm.state.roster import read_join
from swarm.state.run import Run
from swarm.telemetry.facts import Facts, apply
from swarm.telemetry.seen import Seen
from swarm.telemetry.view import View, view
from tests.simulation import CREATED_S, MEMBER_KEYS, Simulation, make_charter, peer_identity
from tests.unit.telemetry.story import story

NOW_S = CREATED_S + 1000.0
OBSERVER = Identity.from_seed(bytes([7] * 32))
HOST = Identity.from_seed(bytes([8] * 32))
LIMIT_S = 5.0
FORBIDDEN = [
    wire.GetStatus(),
    wire.GetRecords(1),
    wire.GetState(1, ()),
    wire.GetResults(1, b"", (0,)),
    wire.GetReduced(1, wire.Ballot(1, HOST.peer_id), (0,)),
    wire.OpenReduce(1, wire.Ballot(1, HOST.peer_id)),
    wire.Park(),
]


class Watched:
    """A door that shows the records of a run of three rounds, and somebody who watches it."""

    def __init__(self, simulation: Simulation, label: Label = Label.OPEN) -> None:
        self.run = Run(simulation.charter)
        self.network = simulation.network
        self.ledger = Ledger(None, lambda: 0.0)
        self.dispatched: list[wire.Request] = []
        self.refused: list[events.AnyEvent] = []
        gate = Gate(region="eu", label=label, min_contributors=1)
        portrait = Portrait(self.run, HOST)
        for seen in story():
            if not isinstance(seen.event, events.RoundCommitted):  # of other rounds than the records'
                portrait.see(seen.at, seen.event)
        observatory = Observatory(
            run=self.run,
            gate=gate,
            head=lambda: 3,
            load_record=simulation.peers[0].store.load_record,
            portrait=portrait,
            wall_clock=lambda: NOW_S,
        )
        self.door = AuditedTransport(self.network.transport(HOST.peer_id), self.ledger, gate.standing)
        self.server = Server(
            transport=self.door,
            charter=simulation.charter,
            run_id=self.run.id,
            charter_bytes=b"",
            dispatch=self._dispatch,
            sink=self.refused.append,
            wall_clock=lambda: NOW_S,
            observe=observatory.answer,
        )
        self.facts = Facts()

    async def _dispatch(self, stream: AuditedStream, request: wire.Request, passport: Passport) -> None:
        self.dispatched.append(request)

    def caller(self, shown: bytes) -> Caller:
        gate = Gate(region="", label=Label.PRIVATE, min_contributors=99)
        transport = AuditedTransport(self.network.transport(OBSERVER.peer_id), Ledger(None, lambda: 0.0), gate.standing)
        return Caller(transport, wire.Hello(self.run.id, shown))

    def take(self, seen: Seen) -> None:
        self.facts = apply(self.facts, seen)

    async def look(self, shown: bytes, times: int = 3) -> View:
        async def connect(peer: PeerId, addresses: Sequence[str]) -> None:
            return

        watcher = Watcher(
            run=self.run,
            caller=self.caller(shown),
            directory=MemoryDirectory().of(OBSERVER.peer_id),
            entries=[HOST.peer_id],
            take=self.take,
            wall_clock=lambda: NOW_S,
            connect=connect,
        )
        for number in range(times):
            await watcher.look(number)
            await asyncio.sleep(1.0)
        return view(self.facts, NOW_S)


def papers(charter: Charter, *, role: Literal["peer", "observer"] = "observer") -> bytes:
    expires_s = NOW_S + 1000
    return passports.encode(issue(MEMBER_KEYS[0], charter, OBSERVER.peer_id, "DE", expires_s, CREATED_S, role))


def watching(
    script: Callable[[Watched], Coroutine[Any, Any, None]], *, charter: Charter | None = None, label: Label = Label.OPEN
) -> None:
    """Runs a script against the records of a run of three rounds."""

    async def main() -> None:
        simulation = Simulation(charter or make_charter(3), rounds=3)
        for number in range(3):
            await simulation.start(number)
        await simulation.until_round(3)
        door = Watched(simulation, label)
        await door.door.serve(door.server.handle)
        await script(door)
        await simulation.finish()

    run_virtual(main())


def test_an_observer_sees_verified_records_and_figures() -> None:
    async def script(door: Watched) -> None:
        seen = await door.look(papers(door.run.charter))
        assert seen.head == 3 and all(row.verified and not row.apart for row in seen.rounds)
        assert all(row.votes is not None and row.votes >= 2 for row in seen.rounds)
        host = next(row for row in seen.peers if row.peer == HOST.peer_id)
        assert (host.isolation, host.refused) == ("confined", 1)
        assert host.loss is not None and host.sent_bytes > 0
        assert seen.links.names and not seen.remarks
        assert door.ledger.totals[Kind.OBSERVED] > 0
        given = {kind for kind in door.ledger.totals if door.ledger.totals[kind]}
        assert given == {Kind.OBSERVED, Kind.CONTROL, Kind.CHARTER}, "amendments and revocations count as the charter"

    watching(script)


@pytest.mark.parametrize("role", ["observer", "stranger"])
@pytest.mark.parametrize("request_", FORBIDDEN, ids=lambda request: type(request).__name__)
def test_an_observer_gets_nothing_that_training_made(request_: wire.Frame, role: str) -> None:
    async def main() -> None:
        simulation = Simulation(make_charter(3), rounds=1)
        await simulation.start(0)
        door = Watched(simulation)
        await door.door.serve(door.server.handle)
        caller = door.caller(papers(door.run.charter) if role == "observer" else b"")
        with pytest.raises(ProtocolError, match=r"an observer takes no part|refused"):
            await caller.ask(HOST.peer_id, request_, wire.Missing, 10**6, LIMIT_S)
        assert not door.dispatched and len(door.refused) == 1
        assert door.ledger.totals[Kind.OBSERVED] == 0
        await simulation.finish()

    run_virtual(main())


@pytest.mark.parametrize("role", ["peer", "observer"])
def test_an_observer_has_no_seat_in_a_round_and_no_place_in_the_directory(role: Literal["peer", "observer"]) -> None:
    run = Run(make_charter(3))
    shown = papers(run.charter, role=role)
    join = wire.Join(
        run_id=run.id,
        round=1,
        ballot=wire.Ballot(1, HOST.peer_id),
        base_digest=bytes(32),
        passport=shown,
        contributes=True,
        dialable=True,
        tokens=1,
        up_bps=0,
        down_bps=0,
        accepted=None,
        rules=run.rules.in_force,
    )
    entry = wire.Announcement(
        run_id=run.id,
        peer=OBSERVER.peer_id,
        region="eu",
        passport=shown,
        addresses=(),
        round=1,
        tokens=0,
        tokens_per_s=0.0,
        phase="training",
        at=NOW_S,
        dialable=True,
        relays=(),
    )
    announced = read_announcement(wire.encode(wire.seal(OBSERVER, entry)), run, NOW_S)
    if role == "peer":
        assert read_join(wire.seal(OBSERVER, join), run)[1].peer == OBSERVER.peer_id and announced == entry
        return
    assert announced is None
    with pytest.raises(ProtocolError, match="an observer, who takes no part"):
        read_join(wire.seal(OBSERVER, join), run)


def test_only_an_observer_with_a_passport_is_let_through_to_peers_behind_relays() -> None:
    """Whose own door stands before it there (tests/unit/net/test_relayed.py)."""

    async def script(door: Watched) -> None:
        asked = wire.RelayTo(peer_identity(2).peer_id)
        (await door.caller(papers(door.run.charter)).open(HOST.peer_id, asked, LIMIT_S)).close()
        await asyncio.sleep(1.0)
        assert door.dispatched == [asked] and not door.refused
        with pytest.raises(ProtocolError, match="refused"):
            await door.caller(b"").ask(HOST.peer_id, asked, wire.Missing, 10**6, LIMIT_S)
        assert door.dispatched == [asked] and len(door.refused) == 1

    watching(script)


def test_a_passport_of_a_peer_is_served_like_one() -> None:
    """The refusal above is the role's, not the identity's."""

    async def script(door: Watched) -> None:
        stream = await door.caller(papers(door.run.charter, role="peer")).open(HOST.peer_id, wire.GetStatus(), LIMIT_S)
        await asyncio.sleep(1.0)
        stream.close()
        assert door.dispatched == [wire.GetStatus()]

    watching(script)


def test_a_members_run_tells_a_stranger_why_it_sees_little() -> None:
    async def script(door: Watched) -> None:
        seen = await door.look(b"")
        assert seen.head == 0 and not seen.rounds and not seen.links.names
        assert any("--passport" in remark for remark in seen.remarks)
        assert door.ledger.totals[Kind.OBSERVED] == 0

    watching(script)


def test_an_open_run_shows_strangers_all_but_who_sent_to_whom() -> None:
    charter = replace(make_charter(3), admission=Admission(kind="open"))

    async def script(door: Watched) -> None:
        seen = await door.look(b"")
        assert seen.head == 3 and seen.totals.sent_bytes > 0
        assert not seen.links.names

    watching(script, charter=charter)


def test_the_loss_on_private_data_is_not_published() -> None:
    async def script(door: Watched) -> None:
        seen = await door.look(papers(door.run.charter))
        host = next(row for row in seen.peers if row.peer == HOST.peer_id)
        assert host.loss is None and all(not row.loss for row in seen.rounds) and host.tokens_per_s > 0

    watching(script, label=Label.PRIVATE)


def test_who_asks_too_often_is_told_to_wait() -> None:
    async def script(door: Watched) -> None:
        caller = door.caller(papers(door.run.charter))
        answers: list[str] = []
        began_s = monotonic_s()
        for _ in range(20):
            stream = await caller.open(HOST.peer_id, wire.Observe(0), LIMIT_S)
            answer = await stream.receive(wire.Observed | wire.Refusal, 10**6)
            answers.append(answer.code if isinstance(answer, wire.Refusal) else "")
            stream.close()
        served = answers.count("")
        assert set(answers) == {"", watched.TOO_OFTEN}
        assert served <= 1 + (monotonic_s() - began_s) / watched.EVERY_S

    watching(script)


def test_a_record_that_does_not_hold_is_not_taken() -> None:
    async def script(door: Watched) -> None:
        shown = papers(door.run.charter)

        async def answer(stream: AuditedStream, request: wire.Observe, is_admitted: bool) -> None:
            permit = Gate(region="eu", label=Label.OPEN, min_contributors=1).check_observation(
                recipient=stream.remote, is_admitted=True, admission="open"
            )
            assert not hasattr(permit, "reason")
            await stream.send(wire.Observed(None, 3), permit)
            await stream.send(wire.ObservedRecord(b"\x81\xa5value\xc4\x01\x80"), permit)
            await stream.send(wire.Missing())

        door.server._observe = answer
        seen = await door.look(shown)
        assert seen.head == 0 and any("does not hold" in remark for remark in seen.remarks)

    watching(script)


@pytest.mark.parametrize(
    "changes",
    [
        {"tokens_per_s": float("inf")},
        {"loss": float("nan")},
        {"refused": -1},
        {"links": (wire.SentTo(HOST.peer_id, "eu", 1),) * 200},
        {"epsilon": -0.5},
        {"round": 2**90},
    ],
)
def test_figures_that_cannot_be_are_refused(changes: dict[str, Any]) -> None:
    summary = wire.Summary(
        run_id="",
        at=1.0,
        round=1,
        isolation="",
        reach="",
        tokens_per_s=1.0,
        loss=None,
        sent=(),
        refused=0,
        denied=0,
        aborted=0,
        epsilon=None,
        delta=0.0,
        rounds=(),
        links=(),
    )
    told_by(HOST.peer_id, summary, 1.0)
    with pytest.raises(ProtocolError):
        told_by(HOST.peer_id, replace(summary, **changes), 1.0)
