"""Donors on one in-memory network, each honest unless a test gives it an answer of its own, and one who asks them."""

from collections.abc import Awaitable, Callable, Sequence

from swarm import events
from swarm.charter import passport as passports
from swarm.charter.passport import Passport, issue
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream, AuditedTransport
from swarm.net.calls import Caller
from swarm.net.memory import Link, MemoryNetwork
from swarm.net.server import Server
from swarm.sovereignty.gate import Gate
from swarm.sovereignty.labels import Label
from swarm.sovereignty.ledger import Ledger
from swarm.state.archive import Archive
from swarm.state.catchup import CatchUp, CaughtUp
from swarm.state.donor import Donor
from swarm.state.head import Head
from swarm.state.partial import Partials
from swarm.state.run import Run
from swarm.state.store import MemoryStore
from swarm.state.upload import Upload, free_upload
from tests.simulation import CREATED_S, MEMBER_KEYS, peer_identity
from tests.unit.state.samples import MadeRound, keep

ME = peer_identity(40)
NOW_S = CREATED_S + 1000.0

Answer = Callable[[AuditedStream, wire.Request], Awaitable[bool]]
"""Handles a request in a bad donor's way and says True, or leaves it to the honest code."""


class Crowd:
    """Everybody holds `chain` of `run`."""

    def __init__(self, run: Run, chain: Sequence[MadeRound], *, link: Link | None = None) -> None:
        self.run = run
        self.chain = chain
        self.network = MemoryNetwork(1, link or Link(bytes_per_s=20e6))
        self.seen: list[events.AnyEvent] = []
        """By who asks."""
        self.refused: list[events.AnyEvent] = []
        """By donors."""
        self.said: list[str] = []
        self.asked: list[PeerId] = []
        self.store = MemoryStore()
        self.partials = Partials(run, None, self.said.append)
        self._gate = Gate(region="eu", label=Label.OPEN, min_contributors=1)

    def audited(self, identity: Identity) -> AuditedTransport:
        transport = self.network.transport(identity.peer_id)
        return AuditedTransport(transport, Ledger(None, lambda: 0.0), self._gate.standing)

    async def add(
        self,
        number: int,
        answer: Answer | None = None,
        *,
        chain: Sequence[MadeRound] | None = None,
        run: Run | None = None,
        upload: Upload | None = None,
    ) -> PeerId:
        """One donor; `run` and `chain` are its own if they are given."""
        chain, run = self.chain if chain is None else chain, run or self.run
        identity = peer_identity(number)
        store = MemoryStore()
        await store.save_snapshot(0, (chain[0].before.base_N, *chain[0].before.outer_VN))
        for made in chain:
            await keep(store, made)
        donor, archive, head = Donor(run, store, upload or free_upload()), Archive(run, store), chain[-1].after

        async def dispatch(stream: AuditedStream, request: wire.Request, _: Passport) -> None:
            self.asked.append(identity.peer_id)
            if answer is not None and await answer(stream, request):
                return
            match request:
                case wire.GetRecords():
                    await donor.give_records(stream, request)
                case wire.GetState():
                    await donor.give_state(stream, request, head)
                case wire.GetResults(round_number, digest, chunks):
                    value = chain[round_number - 1].value
                    for chunk in chunks:
                        data = archive.result(value, digest, chunk)
                        assert data is not None
                        result = wire.ChunkResult(chunk, value.contributors[chunk], data)
                        await stream.send(result, self.permit(stream.remote))
                case wire.GetStatus():
                    await stream.send(wire.Status(head.round, head.record_digest, 0, ""))
                case _:
                    raise AssertionError(request)

        transport = self.audited(identity)
        server = Server(
            transport=transport,
            charter=run.charter,
            run_id=run.id,
            charter_bytes=b"",
            dispatch=dispatch,
            sink=self.refused.append,
            wall_clock=lambda: NOW_S,
        )
        await transport.serve(server.handle)
        return identity.peer_id

    def permit(self, peer: PeerId):
        return self._gate.check_aggregate(members=1, recipient=peer, recipient_region="eu")

    def caller(self, identity: Identity = ME, *, run: Run | None = None, expires_s: float = NOW_S + 10**6) -> Caller:
        """Somebody who asks, under its own passport."""
        run = run or self.run
        passport = issue(MEMBER_KEYS[4], run.charter, identity.peer_id, "DE", expires_s, CREATED_S)
        return Caller(self.audited(identity), wire.Hello(run.id, passports.encode(passport)))

    async def catch_up(
        self, donors: Sequence[PeerId], head: Head | None = None, caller: Caller | None = None
    ) -> CaughtUp:
        caller = caller or self.caller()
        return await CatchUp(self.run, self.store, caller, donors, self.partials, self.seen.append).run(head)

    def lost(self) -> dict[PeerId, str]:
        """Donors that were dropped or left, with the last reason."""
        return {PeerId(event.peer): event.reason for event in self.seen if isinstance(event, events.PeerLost)}


def assert_is(head: Head, wanted: Head) -> None:
    assert (head.round, head.record_digest, head.state_digest, head.electorate) == (
        wanted.round,
        wanted.record_digest,
        wanted.state_digest,
        wanted.electorate,
    )
    for one, other in zip((head.base_N, *head.outer_VN), (wanted.base_N, *wanted.outer_VN), strict=True):
        assert one.tobytes() == other.tobytes()
