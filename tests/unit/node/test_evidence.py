"""Heads and receipts between peers: what honest ones keep of each other, and what a rewritten ledger looks like."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from swarm import events
from swarm.charter import passport as passports
from swarm.charter.passport import Passport, issue
from swarm.errors import ProtocolError
from swarm.identity.key import Identity
from swarm.net import wire
from swarm.net.audited import AuditedStream, AuditedTransport
from swarm.net.calls import Caller
from swarm.net.memory import MemoryNetwork
from swarm.net.server import Server
from swarm.node.evidence import Evidence
from swarm.sovereignty import statements
from swarm.sovereignty.audit import audit
from swarm.sovereignty.gate import Gate
from swarm.sovereignty.labels import Label
from swarm.sovereignty.ledger import Ledger
from swarm.sovereignty.permit import Kind
from swarm.sovereignty.reconcile import reconcile
from swarm.sovereignty.signed import Receipt, TreeHead
from swarm.sovereignty.witness import KEPT_HEADS, MAX_FORK_LINES, Witnesses
from swarm.state.run import Run
from tests.simulation import CREATED_S, MEMBER_KEYS, make_charter, peer_identity

RUN = Run(make_charter(3))
ADA, BO, CY = (peer_identity(number) for number in range(3))


class Peer:
    """A door, a ledger and evidence, in one folder."""

    def __init__(self, network: MemoryNetwork, folder: Path, identity: Identity) -> None:
        self.identity, self.folder = identity, folder
        self.ledger_path = folder / "ledger.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self.seen: list[events.AnyEvent] = []
        self.ledger = Ledger(folder / "ledger.jsonl", lambda: float(CREATED_S))
        gate = Gate(region="eu", label=Label.OPEN, min_contributors=1)
        self.transport = AuditedTransport(network.transport(identity.peer_id), self.ledger, gate.standing)
        passport = issue(MEMBER_KEYS[0], RUN.charter, identity.peer_id, "DE", CREATED_S + 10**7, float(CREATED_S))
        self.caller = Caller(self.transport, wire.Hello(RUN.id, passports.encode(passport)))
        self.evidence = Evidence(
            run_id=RUN.id,
            identity=identity,
            ledger=self.ledger,
            folder=folder,
            sink=self.seen.append,
            wall_clock=lambda: float(CREATED_S),
        )
        self.server = Server(
            transport=self.transport,
            charter=RUN.charter,
            run_id=RUN.id,
            charter_bytes=b"",
            dispatch=self._dispatch,
            sink=self.seen.append,
            wall_clock=lambda: CREATED_S + 1000.0,
        )

    async def _dispatch(self, stream: AuditedStream, request: wire.Request, passport: Passport) -> None:
        match request:
            case wire.ShowHead():
                await self.evidence.serve(stream, request)
            case _:
                await stream.send(wire.Missing())

    async def show(self, round_number: int, *peers: Identity) -> None:
        """What the engine asks for at the end of a round, awaited."""
        self.evidence.round_ended(round_number, [peer.peer_id for peer in peers])
        await self.evidence.finish(self.caller)

    def record(self, frames: int) -> None:
        for number in range(frames):
            self.ledger.record("directory", Kind.ANNOUNCE, b"%d" % number, "protocol")

    def heads(self, peer: Identity, kind: str = "") -> list[int]:
        path = self.folder / "witness" / f"{peer.peer_id}{kind}.jsonl"
        return [TreeHead.read(signed).size for signed in statements.read(path)]

    @property
    def forks(self) -> list[events.LedgerForked]:
        return [event for event in self.seen if isinstance(event, events.LedgerForked)]

    @property
    def refusals(self) -> list[str]:
        return [event.reason for event in self.seen if isinstance(event, events.FrameRefused)]


Scene = Callable[[MemoryNetwork, Peer, Peer], Awaitable[None]]


def play(folder: Path, scene: Scene) -> None:
    """Ada and Bo on a network, both serving."""

    async def run() -> None:
        network = MemoryNetwork(1)
        ada, bo = Peer(network, folder / "ada", ADA), Peer(network, folder / "bo", BO)
        for peer in (ada, bo):
            await peer.transport.serve(peer.server.handle)
        try:
            await scene(network, ada, bo)
        finally:
            for peer in (ada, bo):
                peer.ledger.close()
        assert not network.errors

    asyncio.run(run())


async def settled(peer: Peer, ready: Callable[[], bool]) -> None:
    """Lets the other end do what it was sent."""
    async with asyncio.timeout(10):
        while not ready():  # noqa: ASYNC110 (what is awaited is a line in the other peer's file)
            await asyncio.sleep(0)


def test_heads_of_a_growing_ledger_are_kept_each_proven_from_the_one_before(tmp_path: Path) -> None:
    async def scene(network: MemoryNetwork, ada: Peer, bo: Peer) -> None:
        for round_number in range(1, 5):
            ada.record(5 * round_number)
            await ada.show(round_number, BO)
            await settled(bo, lambda: len(bo.heads(ADA)) == round_number)  # noqa: B023
        sizes = bo.heads(ADA)
        assert sizes == sorted(sizes) and not bo.forks and not bo.refusals
        found = audit(ada.ledger_path, [bo.folder], None)
        assert found.verdict == "witnessed" and found.witnessed_entries == sizes[-1] and not found.faults
        assert found.unwitnessed_entries == found.entries - sizes[-1] > 0

    play(tmp_path, scene)


def test_both_ends_countersign_and_reconcile(tmp_path: Path) -> None:
    async def scene(network: MemoryNetwork, ada: Peer, bo: Peer) -> None:
        for _ in range(3):
            await ada.caller.ask(BO.peer_id, wire.GetStatus(), wire.Missing, 1000, 5.0)
        for round_number in (1, 2, 3):
            await ada.show(round_number, BO)
            await bo.show(round_number, ADA)
        await settled(bo, lambda: len(bo.heads(ADA)) == 3)
        await settled(ada, lambda: len(ada.heads(BO)) == 3)
        found = reconcile(ada.ledger_path, bo.ledger_path)
        assert not found.faults
        for direction in found.directions:
            assert direction.agreed_frames >= 6 and direction.receipts >= 2
            # What went after the last receipt is what nobody has countersigned yet: control frames of the exchange.
            assert set(direction.sent_only_by_kind) <= {"evidence", "hello"}
        got = ada.folder / "receipts" / "got" / f"{BO.peer_id}.jsonl"
        numbers = [Receipt.read(signed).number for signed in statements.read(got)]
        assert numbers == list(range(1, len(numbers) + 1))

    play(tmp_path, scene)


def test_a_rewritten_ledger_is_a_fork_and_both_heads_are_kept(tmp_path: Path) -> None:
    async def scene(network: MemoryNetwork, ada: Peer, bo: Peer) -> None:
        ada.record(6)
        await ada.show(1, BO)
        await settled(bo, lambda: bo.heads(ADA) == [6])
        twin = Peer(network, tmp_path / "twin", ADA)
        twin.record(9)
        await twin.show(2, BO)
        await settled(bo, lambda: bool(bo.forks))
        twin.record(3)
        await twin.show(3, BO)
        await settled(bo, lambda: len(bo.heads(ADA, ".fork")) == 4)
        (fork,) = bo.forks
        assert (fork.peer, fork.known_entries, fork.shown_entries) == (ADA.peer_id, 6, 9)
        assert "no proof that its first 6 of 9 entries" in fork.reason
        assert bo.heads(ADA) == [6] and bo.heads(ADA, ".fork")[:2] == [6, 9]
        for path in (ada.ledger_path, twin.ledger_path):
            assert audit(path, [bo.folder], ADA.peer_id).verdict == "refuted"
        twin.ledger.close()

    play(tmp_path, scene)


def test_a_shorter_ledger_is_a_fork_and_evidence_is_bounded(tmp_path: Path) -> None:
    async def scene(network: MemoryNetwork, ada: Peer, bo: Peer) -> None:
        ada.record(9)
        await ada.show(1, BO)
        await settled(bo, lambda: bo.heads(ADA) == [9])
        for life in range(MAX_FORK_LINES):
            twin = Peer(network, tmp_path / f"twin{life}", ADA)
            twin.record(2)
            await twin.show(1, BO)
            twin.ledger.close()
        await settled(bo, lambda: len(bo.heads(ADA, ".fork")) == MAX_FORK_LINES)
        assert len(bo.forks) == 1

    play(tmp_path, scene)


def test_who_does_not_stay_to_prove_a_head_leaves_it_as_evidence(tmp_path: Path) -> None:
    async def scene(network: MemoryNetwork, ada: Peer, bo: Peer) -> None:
        ada.record(3)
        await ada.show(1, BO)
        await settled(bo, lambda: bo.heads(ADA) == [3])
        head = TreeHead(RUN.id, 50, bytes(32), 2, 0.0).sign(ADA)
        stream = await ada.caller.open(BO.peer_id, wire.ShowHead(head, ()), 5.0)
        asked = await stream.receive(wire.ProveHead, 10**6)
        stream.close()
        await settled(bo, lambda: bo.heads(ADA, ".unproven") == [50])
        assert asked.size == 3 and not bo.forks and bo.heads(ADA) == [3]

    play(tmp_path, scene)


def test_evidence_of_others_and_of_other_runs_is_refused(tmp_path: Path) -> None:
    async def scene(network: MemoryNetwork, ada: Peer, bo: Peer) -> None:
        ada.record(3)
        size, root = 3, bytes(32)
        good = TreeHead(RUN.id, size, root, 1, 0.0)
        foreign = Receipt(RUN.id, BO.peer_id, 1, 0, bytes(32), 0.0)
        for request, cause in (
            (wire.ShowHead(good.sign(CY), ()), "of another peer"),
            (wire.ShowHead(TreeHead("d" * 64, size, root, 1, 0.0).sign(ADA), ()), "another run"),
            (wire.ShowHead(type(good.sign(ADA))(ADA.peer_id, good.sign(CY).payload, bytes(64)), ()), "signature"),
            (wire.ShowHead(TreeHead(RUN.id, -1, root, 1, 0.0).sign(ADA), ()), "no ledger has"),
            (wire.ShowHead(TreeHead(RUN.id, 1, b"", 1, 0.0).sign(ADA), ()), "no ledger has"),
            (wire.ShowHead(TreeHead(RUN.id, 1, root, 1, float("nan")).sign(ADA), ()), "without a time"),
            (wire.ShowHead(good.sign(ADA), (foreign.sign(CY),)), "receipts of another peer"),
            (wire.ShowHead(good.sign(ADA), (foreign.sign(ADA),) * 17), "more than go at once"),
            (wire.ShowHead(good.sign(ADA), (foreign.sign(ADA),)), "more frames than were sent"),
        ):
            before = len(bo.refusals)
            stream = await ada.caller.open(BO.peer_id, request, 5.0)
            await settled(bo, lambda: len(bo.refusals) == before + 1)  # noqa: B023
            assert cause in bo.refusals[-1]
            stream.close()
        assert not list((bo.folder / "witness").iterdir())

    play(tmp_path, scene)


def test_a_peer_that_cannot_be_reached_gets_its_receipts_later(tmp_path: Path) -> None:
    async def scene(network: MemoryNetwork, ada: Peer, bo: Peer) -> None:
        await ada.caller.ask(BO.peer_id, wire.GetStatus(), wire.Missing, 1000, 5.0)
        network.kill(ADA.peer_id)
        await bo.show(1, ADA)
        given = list(statements.read(bo.folder / "receipts" / "given" / f"{ADA.peer_id}.jsonl"))
        assert len(given) == 1 and len(Receipt.read(given[0]).frames) == 2
        network.transport(ADA.peer_id)
        again = Peer(network, ada.folder, ADA)
        await again.transport.serve(again.server.handle)
        await bo.show(2, ADA)
        got = list(statements.read(ada.folder / "receipts" / "got" / f"{BO.peer_id}.jsonl"))
        assert got[:1] == given
        again.ledger.close()

    play(tmp_path, scene)


def test_witness_files_are_bounded_and_outlive_the_process(tmp_path: Path) -> None:
    witnesses = Witnesses(tmp_path)
    for size in range(1, 3 * KEPT_HEADS):
        head = TreeHead(RUN.id, size, bytes(32), size, 0.0)
        witnesses.keep(head.sign(ADA), head)
    lines = list(statements.read(tmp_path / "witness" / f"{ADA.peer_id}.jsonl"))
    assert KEPT_HEADS <= len(lines) <= 2 * KEPT_HEADS
    known = Witnesses(tmp_path).known(ADA.peer_id)
    assert known is not None and known.size == 3 * KEPT_HEADS - 1


def test_a_head_over_nothing_is_not_read() -> None:
    with pytest.raises(ProtocolError):
        TreeHead.read(TreeHead(RUN.id, 0, bytes(32), 1, 0.0).sign(ADA))
