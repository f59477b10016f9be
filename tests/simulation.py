"""A whole swarm in one process under virtual time: real engines, made-up trainers, the in-memory network.

A test describes what happens to the network; `Simulation` runs it, and `check` demands what must hold whatever happened
(tests/chaos/checks.py says what that is).
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from swarm import events
from swarm.charter.manifest import (
    CROSSING_MEMBERS,
    Aggregation,
    Charter,
    Deadlines,
    Founders,
    Genesis,
    Mean,
    Member,
    Model,
    Nesterov,
    Reduce,
    Region,
    Weights,
)
from swarm.charter.manifest import Run as RunTable
from swarm.charter.passport import Passport, issue, volunteer
from swarm.errors import NetworkError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream, AuditedTransport
from swarm.net.memory import Link, MemoryDirectory, MemoryNetwork
from swarm.net.server import Server
from swarm.node.engine import Engine
from swarm.node.work import Update
from swarm.round.acceptor import Acceptor
from swarm.round.witness import Witness
from swarm.sovereignty.gate import Gate, InForce
from swarm.sovereignty.labels import Label
from swarm.sovereignty.ledger import Ledger
from swarm.state.archive import Archive
from swarm.state.chain import Chain
from swarm.state.head import Head
from swarm.state.records import Decided
from swarm.state.resume import state_zero
from swarm.state.run import Run
from swarm.state.store import MemoryStore
from swarm.vector.digest import state_digest
from swarm.vector.grid import Grid
from tests.chaos.checks import check_all
from tests.chaos.disk import Disk, Mount

CREATED_S = 1_750_000_000
ELEMENTS = 3000
MEMBER_KEYS = tuple(Identity.from_seed(bytes([200, n]) + bytes(30)) for n in range(16))


PLAIN = Mean()
REGIONS = (Region(name="eu", jurisdictions=("DE",)), Region(name="asia", jurisdictions=("JP",)))


PLAIN = Mean()


def peer_identity(number: int) -> Identity:
    return Identity.from_seed(bytes([100, number % 256, number // 256]) + bytes(29))


def make_charter(
    genesis: int,
    *,
    members: int = 12,
    witnesses: tuple[PeerId, ...] = (),
    elements: int = ELEMENTS,
    chunk_elements: int = 512,
    codec: str = "int8",
    min_contributors: int = 1,
    ceiling_s: float = 30.0,
    regions: tuple[Region, ...] = REGIONS,
    aggregation: Aggregation = PLAIN,
) -> Charter:
    """A charter over `elements` parameters, one member per peer, everybody in one region or two."""
    grid = Grid(elements, chunk_elements)
    zeros = np.zeros(elements, np.float32)
    digest = state_digest(grid, base_zero(elements), (zeros,)).hex()
    return Charter(
        run=RunTable(name="simulation", created=CREATED_S, expires=CREATED_S + 10**8),
        model=Model(parameters=elements, schema_digest="a" * 64, state_digest=digest),
        outer=Nesterov(lr=0.7, momentum=0.9),
        reduce=Reduce(
            codec=codec,
            block_elements=64,
            chunk_elements=chunk_elements,
            min_contributors=min_contributors,
            single_update_may_cross=min_contributors < CROSSING_MEMBERS,
        ),
        aggregation=aggregation,
        weights=Weights(policy="uniform", cap_percent=100),
        deadlines=Deadlines(floor_s=1.0, ceiling_s=ceiling_s, mad_factor=6.0),
        regions=regions,
        members=tuple(Member(name=f"m{n}", key=key.peer_id) for n, key in enumerate(MEMBER_KEYS[:members])),
        founders=Founders(keys=(MEMBER_KEYS[0].peer_id,), threshold=1),
        genesis=Genesis(peers=tuple(peer_identity(n).peer_id for n in range(genesis)), witnesses=witnesses),
    )


def base_zero(elements: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal(elements).astype(np.float32)


class FakeTrainer:
    """Takes `seconds` of virtual time, then gives a random update; no model."""

    def __init__(self, seed: int, seconds: Callable[[], float]) -> None:
        self._random = np.random.default_rng(seed)
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None
        self._head: Head | None = None
        self._beside: asyncio.Future[Update] | None = None
        self._coming: asyncio.Future[Update] | None = None
        self.is_prompt = False
        """Whether its steps are short: what there is it hands over at once when it is asked."""
        self.scoring_s: Callable[[], float] = lambda: 0.0
        self.scores: Callable[[np.ndarray], float | None] | None = None
        """The loss of a base; None for a trainer without held-out data."""

    def begin(self, head: Head, seconds: float | None = None) -> "asyncio.Future[Update]":
        self._head = head
        future = self._coming = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._train(head, future))
        return future

    async def _train(self, head: Head, future: "asyncio.Future[Update]") -> None:
        await asyncio.sleep(self._seconds())
        if not future.done():
            future.set_result(self._update(head))

    def _update(self, head: Head) -> Update:
        noise = self._random.standard_normal(head.base_N.size).astype(np.float32)
        return Update(head.base_N * np.float32(0.1) + noise * np.float32(0.01), 1000)

    def go_on(self) -> "asyncio.Future[Update]":
        assert self._head is not None, "begin() comes first"
        return self.begin(self._head)

    def train_beside(self) -> "asyncio.Future[Update]":
        assert self._head is not None, "begin() comes first"
        assert self._task is None or self._task.done(), "it is still at work"
        self._beside = asyncio.get_running_loop().create_future()
        return self._beside

    def finish(self) -> None:
        """Its one step takes as long as it takes; those beside an update are there at once."""
        wanted = [self._beside, self._coming] if self.is_prompt else [self._beside]
        for future in wanted:
            if self._head is not None and future is not None and not future.done():
                future.set_result(self._update(self._head))

    async def score(self, base_N: np.ndarray, current_N: np.ndarray) -> float | None:
        if self.scores is None:
            return None
        await asyncio.sleep(self.scoring_s())
        return self.scores(base_N)

    async def abandon(self) -> None:
        if self._task is not None:
            self._task.cancel()


@dataclass
class SimPeer:
    """One simulated machine: its identity and disk outlive its process."""

    number: int
    identity: Identity
    disk: Disk = field(default_factory=Disk)
    mount: Mount | None = None
    engine: Engine | None = None
    task: asyncio.Task[None] | None = None
    seen: list[events.AnyEvent] = field(default_factory=list)
    show: Callable[[events.AnyEvent], None] | None = None

    @property
    def id(self) -> PeerId:
        return self.identity.peer_id

    @property
    def store(self) -> MemoryStore:
        return self.disk.files

    def see(self, event: events.AnyEvent) -> None:
        self.seen.append(event)
        if self.show is not None:
            self.show(event)

    def of(self, kind: type[events.Event]) -> list:
        return [event for event in self.seen if isinstance(event, kind)]


class Simulation:
    """A network, a directory and some peers."""

    def __init__(self, charter: Charter, *, seed: int = 0, link: Link | None = None, rounds: int | None = None) -> None:
        self.charter = charter
        self.run_info = Run(charter)
        self.random = random.Random(seed)
        self.network = MemoryNetwork(seed, link)
        self.directory = MemoryDirectory()
        self.peers: dict[int, SimPeer] = {}
        self.rounds = rounds
        self.may_give_up = False
        """Whether a newcomer may end because nobody could give it a state, as it does after half a minute of trying."""
        self.errors: list[BaseException] = []
        """What engines died of; a death that no test ordered is a bug."""
        self._base_N = base_zero(charter.model.parameters)
        self.on_write: Callable[[int], None] | None = None
        """Runs with a peer's number before and after each of its writes to disk: tests inject deaths there."""
        self.write_s: Callable[[], float] = lambda: 0.0
        self.scores: dict[int, Callable[[np.ndarray], float | None]] = {}
        """By number: how a peer's trainer scores a base; who is not in it has no held-out data."""
        self.trainers: dict[int, FakeTrainer] = {}
        self.scoring_s: Callable[[], float] = lambda: 0.0
        """How long a trainer takes to score a base."""
        self.prompt_trainers = False
        self.training_s: Callable[[], float] = lambda: self.random.uniform(0.5, 1.5)

    async def start(
        self,
        number: int,
        *,
        dialable: bool = True,
        jurisdiction: str = "DE",
        training_s: Callable[[], float] | None = None,
        skew_s: float = 0.0,
        policy: InForce | None = None,
        ledger: Ledger | None = None,
        expires_in_s: float = 10**7,
    ) -> SimPeer:
        """Starts (or restarts, with its old disk) a peer. Genesis peers hold state 0 already.

        Its wall clock is `skew_s` ahead of the right time. Its data is open unless a `policy` says more; without a
        `ledger` only totals are kept.
        """
        peer = self._machine(number)
        ledger = ledger or Ledger(None, lambda: 0.0)
        if number < len(self.charter.genesis.peers) and not peer.store.snapshots():
            head = state_zero(self.run_info, self.base_zero())
            assert head is not None
            await peer.store.save_snapshot(0, (head.base_N, *head.outer_VN))
        expires_s = CREATED_S + expires_in_s
        if self.charter.members:
            member = MEMBER_KEYS[number % len(self.charter.members)]
            passport = issue(member, self.charter, peer.id, jurisdiction, expires_s, float(CREATED_S))
        else:
            passport = volunteer(peer.identity, self.charter, jurisdiction, expires_s, float(CREATED_S))
        gate = Gate(
            region=passport.payload.region,
            label=Label.OPEN if policy is None else policy.restrictions.label,
            min_contributors=self.run_info.least_members,
            policy=policy,
            decided=lambda decision: ledger.note(decision.reason.encode(), decision.line),
        )
        peer.engine = Engine(
            run=self.run_info,
            identity=peer.identity,
            passport=passport,
            charter_bytes=b"",
            transport=self.network.transport(peer.id, dialable=dialable),
            directory=self.directory.of(peer.id),
            ledger=ledger,
            gate=gate,
            store=self._mount(peer),
            sink=peer.see,
            wall_clock=lambda: CREATED_S + 1000 + skew_s + asyncio.get_running_loop().time(),
            is_dialable=dialable,
        )
        peer.task = asyncio.create_task(self._live(peer, training_s or self.training_s))
        peer.task.add_done_callback(self._ended)
        return peer

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.errors.append(error)

    async def start_witness(self, number: int) -> SimPeer:
        """Starts (or restarts) a witness: a door that answers Prepare and AskVote and takes records, and a disk."""
        peer = self._machine(number)
        member = MEMBER_KEYS[number % len(self.charter.members)]
        passport = issue(member, self.charter, peer.id, "DE", CREATED_S + 10**7, float(CREATED_S))
        gate = Gate(region=passport.payload.region, label=Label.PRIVATE, min_contributors=1)
        store = self._mount(peer)
        witness = Witness(self.run_info, peer.identity, Acceptor(store), Chain(self.run_info, store))

        async def dispatch(stream: AuditedStream, request: wire.Request, passport: Passport) -> None:
            match request:
                case wire.Prepare():
                    await stream.send(await witness.prepare(request, stream.remote))
                case wire.AskVote():
                    await stream.send(await witness.vote(request, stream.remote))
                case wire.CastQuality() | wire.NoQuality():
                    witness.hear(stream.remote, request)
                case wire.PushRecord(record):
                    await witness.learn(record)
                case wire.PushRestarts(documents):
                    await witness.restart(documents)
                case _:
                    await stream.send(wire.Refusal("witness", "a witness only votes"))

        transport = AuditedTransport(self.network.transport(peer.id), Ledger(None, lambda: 0.0), gate.standing)
        server = Server(
            transport=transport,
            charter=self.charter,
            run_id=self.run_info.id,
            charter_bytes=b"",
            dispatch=dispatch,
            sink=peer.seen.append,
            wall_clock=lambda: CREATED_S + 1000 + asyncio.get_running_loop().time(),
        )
        await transport.serve(server.handle)
        return peer

    def _machine(self, number: int) -> SimPeer:
        return self.peers.setdefault(number, SimPeer(number, peer_identity(number)))

    def _mount(self, peer: SimPeer) -> Mount:
        def on_write() -> None:
            if self.on_write is not None:
                self.on_write(peer.number)

        peer.mount = Mount(peer.disk, lambda: self.write_s(), on_write)
        return peer.mount

    async def _live(self, peer: SimPeer, training_s: Callable[[], float]) -> None:
        assert peer.engine is not None
        seeds = [other.id for other in self.peers.values() if other is not peer]
        try:
            await peer.engine.start(seeds)
        except NetworkError:
            if not self.may_give_up:
                raise
            self.kill(peer.number)
            return
        trainer = FakeTrainer(peer.number, training_s)
        trainer.scores = self.scores.get(peer.number)
        trainer.scoring_s = self.scoring_s
        trainer.is_prompt = self.prompt_trainers
        self.trainers[peer.number] = trainer
        await peer.engine.run(trainer, self.rounds)

    def base_zero(self) -> np.ndarray:
        """State 0 as a fresh array."""
        return self._base_N.copy()

    def kill(self, number: int) -> None:
        """SIGKILL: the process ends between two steps of the event loop, the disk stays."""
        peer = self.peers[number]
        self.network.kill(peer.id)
        if peer.mount is not None:
            peer.mount.die()
        if peer.task is not None and peer.engine is not None:
            peer.task.cancel()
            if peer.engine.ctx is not None:
                peer.engine.ctx.close()
            for task in peer.engine.keeping:
                task.cancel()

    def is_alive(self, number: int) -> bool:
        return self.network.is_alive(self.peers[number].id)

    async def until_round(self, round_number: int, *numbers: int, within_s: float = 600.0) -> None:
        """Waits until the given peers (all live ones by default) have committed a round."""
        async with asyncio.timeout(within_s):
            while True:
                live = numbers or tuple(n for n in self.peers if self.is_alive(n) and self.peers[n].engine is not None)
                for number in live:
                    task = self.peers[number].task
                    if task is not None and task.done() and not task.cancelled():
                        task.result()
                if all(self.committed(number) >= round_number for number in live):
                    return
                await asyncio.sleep(0.05)

    def committed(self, number: int) -> int:
        engine = self.peers[number].engine
        return 0 if engine is None or engine.ctx is None else engine.ctx.head.round

    def decided(self, number: int, round_number: int) -> Decided:
        """A record on a peer's disk, taken at its word."""
        found = Archive(self.run_info, self.peers[number].store).committed(round_number)
        assert found is not None
        return found

    async def finish(self) -> None:
        """Stops every peer that lives."""
        for number, peer in self.peers.items():
            if self.is_alive(number):
                if peer.engine is not None:
                    await peer.engine.leave()
                self.kill(number)
        tasks = [peer.task for peer in self.peers.values() if peer.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def check(self) -> None:
        """Everything that must hold at any instant, whatever happened before."""
        check_all(self)
