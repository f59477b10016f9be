"""The node process: network and ledger, no data. `tapestry peer` and `swarm.join` start it as `python -m swarm.node`.

    daemon up -> charter fetched, verified, pinned -> directory joined -> state verified -> rounds until told to stop

Everything that happens is an event: one JSON line each on stdout and in STATE/events.jsonl. It stops when its trainer
goes away or on SIGTERM, saying what was saved.
"""

import asyncio
import contextlib
import fcntl
import signal
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
from multiaddr import Multiaddr

from swarm import events
from swarm.charter import passport as passports
from swarm.charter import restart as restarts
from swarm.charter.documents import read_document
from swarm.charter.holdings import newest_of
from swarm.charter.passport import SignedPassport
from swarm.clock import process_began_s, process_s, unix_s
from swarm.errors import CharterError, ProtocolError, StateError, TapestryError, UsageError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.addresses import parse_join_address, parse_listen_address, peer_of
from swarm.net.audited import AuditedTransport
from swarm.net.calls import Caller
from swarm.net.daemon import Daemon
from swarm.net.kademlia import KademliaDirectory
from swarm.net.libp2p import LibP2PTransport
from swarm.net.relayed import Relayed
from swarm.node import session
from swarm.node.address_book import AddressBook, Remembering
from swarm.node.announcements import read_announcement
from swarm.node.clocks import ClockCheck
from swarm.node.config import NodeConfig
from swarm.node.contacts import Contacts
from swarm.node.engine import Engine
from swarm.node.entry import enter, port_of, with_port
from swarm.node.event_log import EventLog
from swarm.node.evidence import Evidence
from swarm.node.heap import keep_freed_chunks, leave_imports_out_of_collections
from swarm.node.link import NodeEnd
from swarm.node.observatory import Observatory
from swarm.node.papers import Papers, adopt_state_zero, run_before
from swarm.node.portrait import Portrait
from swarm.node.private_training import PrivateTraining
from swarm.node.reach import Reach, Reaching
from swarm.node.reports import Reports
from swarm.node.shared import SharedVectors
from swarm.node.sinks.services import Services
from swarm.node.spawn import write_cause
from swarm.node.startup import Startup
from swarm.sovereignty.gate import Gate
from swarm.sovereignty.labels import Label
from swarm.sovereignty.ledger import LEDGER_NAME, Ledger
from swarm.state.run import Run
from swarm.state.shelf import Shelf
from swarm.state.store import DiskStore

TRAINER_STOP_LIMIT_S = 1.5
LEAVE_LIMIT_S = 1.0
_STRANGER = wire.Hello("", b"")

T = TypeVar("T")


class Node:
    """One node process's parts, in the order they come up."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._state = Path(config.state)
        self._stack = contextlib.AsyncExitStack()
        self._joins = [parse_join_address(text) for text in config.join]
        self._listen = [parse_listen_address(text) for text in config.listen]
        self._open_state()
        self._log = EventLog(self._state)
        self._startup = Startup(config.began_s or process_began_s(), process_s)
        self._ledger = self._stack.enter_context(Ledger(self._state / LEDGER_NAME, unix_s))
        self._identity, self._identity_path = self._load_identity()
        self._book = AddressBook(self._state / "addresses", self._identity.peer_id, self._say)
        self._entries: list[Multiaddr] = []
        """Those to join through that answered."""
        self._clocks = ClockCheck(unix_s, self._sink)
        self._run_at_start: Run | None = None
        """Under the amendments and revocations that were at hand then."""
        self._engine_for_progress: Engine | None = None
        self._portrait: Portrait | None = None
        """What this peer publishes of itself, once there is a run."""
        self._services = Services(config.services, self._ledger, self._say)
        self._private = None if config.dp is None else PrivateTraining(config.dp, self._state, self._sink)
        self._reports = Reports(self._sink, self._startup, self._private)
        self._keeping: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """The node's whole life. Raises TapestryError for what a person must mend."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stopping.set)
        if self._config.walls:
            self._say(self._config.walls)
        async with self._stack:
            daemon = await self._unless_stopped(self._start_daemon())
            if daemon is None:
                return
            watching = asyncio.create_task(daemon.watch())
            self._stack.callback(watching.cancel)
            ready = await self._unless_stopped(self._come_up(daemon), watching)
            if ready is None:
                self._sink(events.NodeStopped(round=0, saved="nothing new: this peer had not taken part yet"))
                return
            await self._take_part(*ready, watching)

    async def _unless_stopped(self, work: Coroutine[Any, Any, T], *watching: asyncio.Task[NoReturn]) -> T | None:
        """What `work` returns; None if the node is told to stop before. Raises what `work` or a watcher raises."""
        task, told = asyncio.create_task(work), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((task, told, *watching), return_when=asyncio.FIRST_COMPLETED)
            for watcher in watching:
                if watcher.done() and not told.done():  # one SIGTERM to all processes ends the daemon as well
                    watcher.result()
            return task.result() if task.done() else None
        finally:
            for each in (task, told):
                each.cancel()
            await asyncio.gather(task, told, return_exceptions=True)

    # --- coming up ----------------------------------------------------------------------------------------------------

    async def _come_up(self, daemon: Daemon) -> tuple[Engine, NodeEnd]:
        """From a running daemon to a verified state."""
        transport = await self._reach_swarm(daemon)
        self._startup.reached()
        papers = Papers(self._config, self._state, self._identity, self._say)
        door = self._strangers_door(transport)
        # Before the papers: a clock that is wrong is why they may be refused.
        await self._clocks.check(Caller(door, _STRANGER), [peer_of(address) for address in self._entries])
        charter_bytes, charter = await papers.charter(door, self._entries)
        run = Run(charter)
        self._run_at_start = await self._governed(run, await papers.documents(door, self._entries))
        passport = papers.passport(self._run_at_start)
        shared = SharedVectors(self._config.shared_fd, charter.model.parameters)
        link = await NodeEnd.open(
            self._config.control_fd,
            shared,
            charter_bytes.decode(),
            charter.model.schema_digest,
            self._reports,
            None if self._private is None else self._private.of_trainer(charter),
        )
        self._sink(
            events.CharterReady(
                path=str(self._state / "charter.toml"),
                run_id=run.id,
                parameters=charter.model.parameters,
                trust=papers.trust,
            )
        )
        engine = await self._engine(transport, run, passport, charter_bytes)
        self._engine_for_progress = self._reports.engine = engine
        return engine, link

    async def _governed(self, run: Run, documents: Sequence[bytes]) -> Run:
        """The run under all that those to join through and the state folder hold. Keeps what is new and good."""
        shelf = Shelf(DiskStore(self._state), lambda event: None)  # the engine says what it takes from the folder
        shelf.look(run.rules)
        await shelf.save(shelf.take(run.rules, documents))
        return run.under(newest_of(run.rules, shelf.held))

    def _strangers_door(self, transport: LibP2PTransport) -> AuditedTransport:
        """What a peer may send before it has a charter: requests, on record like everything else."""
        gate = Gate(region="", label=Label.PRIVATE, min_contributors=wire.MAX_PEERS)
        return AuditedTransport(transport, self._ledger, gate.standing)

    def _open_state(self) -> None:
        try:
            self._state.mkdir(parents=True, exist_ok=True)
            lock = self._stack.enter_context((self._state / "lock").open("wb"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(
                f"another peer is using the state folder {self._state}: give this one its own --state"
            ) from None
        except OSError as error:
            raise StateError(f"cannot use the state folder {self._state}: {error.strerror}") from None

    def _load_identity(self) -> tuple[Identity, Path]:
        path = Path(self._config.identity) if self._config.identity else self._state / "identity.key"
        made = Identity.load(path) if self._config.identity else Identity.load_or_make(path)
        return made, path

    async def _start_daemon(self) -> Daemon:
        listen = with_port(self._listen, self._book.port)
        daemon = await Daemon.start(identity=self._identity_path, listen=listen, say=self._say)
        self._stack.callback(daemon.stop)
        return daemon

    async def _reach_swarm(self, daemon: Daemon) -> LibP2PTransport:
        transport = await LibP2PTransport.attach(daemon.control, self._listen, self._say)
        self._stack.push_async_callback(transport.close)
        before = run_before(self._state)
        if before is not None:
            self._book.open(before)
        self._entries, told = await enter(transport, self._joins, self._book.ways())
        if told:
            self._say(told)
        return transport

    async def _engine(
        self, transport: LibP2PTransport, run: Run, passport: SignedPassport, charter_bytes: bytes
    ) -> Engine:
        store = session.open_store(self._config)
        await adopt_state_zero(self._config.charter, run, store, self._say)
        seeds = [peer_of(address) for address in self._entries]

        def accept(peer: PeerId, data: bytes) -> bool:
            engine = self._engine_for_progress
            now = self._run_at_start if engine is None else engine.run_now
            entry = read_announcement(data, now or run, unix_s())
            return entry is not None and entry.peer == peer

        reaching = Reaching(transport, self._sink)
        reach = await reaching.ask(seeds)
        directory = await KademliaDirectory.create(transport.p2p, run.id, accept, seeds, is_dialable=reach.is_dialable)
        self._stack.push_async_callback(directory.close)
        self._book.use_port(port_of(await transport.addresses()))
        payload = passport.payload
        budget = None if self._private is None else self._private.budget(run.charter)
        gate = session.make_gate(self._config, run, payload.region, self._ledger, budget)
        self._reports.judged_by(gate)
        session.begin(self._config, self._ledger, store, payload.member, self._sink)
        self._stack.push_async_callback(self._services.open(gate, run, self._identity.peer_id, payload.region))
        door = AuditedTransport(transport, self._ledger, gate.standing)
        caller = Caller(door, wire.Hello(run.id, passports.encode(passport)))
        relayed = Relayed(transport, caller, self._identity, run.id)
        relayed.lost = reaching.doubt
        self._stack.push_async_callback(relayed.close)
        self._portrait = Portrait(run, self._identity)
        observatory = Observatory(
            run=run,
            gate=gate,
            head=lambda: 0 if engine.ctx is None else engine.head.round,
            load_record=store.load_record,
            portrait=self._portrait,
            wall_clock=unix_s,
        )
        engine = Engine(
            run=run,
            identity=self._identity,
            passport=passport,
            charter_bytes=charter_bytes,
            transport=relayed,
            directory=Remembering(directory, lambda found: self._book.learn(found, run, unix_s())),
            ledger=self._ledger,
            gate=gate,
            store=store,
            sink=self._sink,
            wall_clock=unix_s,
            downloads=self._state / "download",
            evidence=Evidence(
                run_id=run.id,
                identity=self._identity,
                ledger=self._ledger,
                folder=self._state,
                sink=self._sink,
                wall_clock=unix_s,
            ),
            observatory=observatory,
        )
        self._sink(
            events.NodeStarted(
                peer=self._identity.peer_id,
                run_id=run.id,
                region=payload.region,
                member=payload.member,
                address=reach.shown_address,
                min_contributors=run.charter.reduce.least_members,
                electors=len(run.charter.genesis.peers),
                witnesses=len(run.charter.genesis.witnesses),
                admission=run.charter.admission.kind,
            )
        )
        relayed.announced = engine.announced
        engine.stand(reach)
        contacts = Contacts(
            transport=transport,
            directory=directory,
            engine=engine,
            book=self._book,
            joins=self._joins,
            sink=self._sink,
        )
        await engine.start(seeds, contacts.enter_anew)
        self._hand_restart(engine)
        self._stack.push_async_callback(_leave, engine)
        relayed.park_at(reach.relays, reach.host)
        asking = self._clocks.keep_checking(Caller(self._strangers_door(transport), _STRANGER), contacts.everybody)

        def stand(reach: Reach) -> None:
            engine.stand(reach)
            relayed.park_at(reach.relays, reach.host)

        standing = reaching.keep(contacts.dialable, stand)
        for work in (contacts.keep_connected(), contacts.keep_entered(), asking, standing):
            self._keeping.append(asyncio.create_task(work))
            self._stack.callback(self._keeping[-1].cancel)
        return engine

    def _hand_restart(self, engine: Engine) -> None:
        """Takes the founders' restart this peer was started with. Raises CharterError if it is not good."""
        if self._config.restart is None:
            return
        data = read_document(Path(self._config.restart), restarts.MAX_RESTART_BYTES, CharterError)
        try:
            engine.restart((data,))
        except ProtocolError as error:
            raise CharterError(f"{self._config.restart}: {error}") from None

    # --- taking part --------------------------------------------------------------------------------------------------

    async def _take_part(self, engine: Engine, link: NodeEnd, watching: asyncio.Task[NoReturn]) -> None:
        """Rounds until the last one, until the trainer goes, or until SIGTERM; then leaves cleanly."""
        listening = asyncio.create_task(link.listen())
        rounds = asyncio.create_task(self._rounds(engine, link))
        told = asyncio.create_task(self._stopping.wait())
        tasks = (listening, rounds, told)
        keeping = (watching, *engine.keeping, *self._keeping, *self._services.tasks)
        try:
            await asyncio.wait((*tasks, *keeping), return_when=asyncio.FIRST_COMPLETED)
            for task in (*keeping, listening, rounds):
                if task.done() and not told.done():  # one SIGTERM to all processes ends the daemon as well
                    task.result()
            if rounds.done() or told.done():
                reason = "the last round is done" if rounds.done() else "asked to stop"
                rounds.cancel()
                await asyncio.gather(rounds, return_exceptions=True)
                await link.stop(engine.head, reason, TRAINER_STOP_LIMIT_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._sink(
                events.NodeStopped(
                    round=engine.head.round,
                    saved=f"the Shared Base of round {engine.head.round}, {engine.head.round} commit records, votes "
                    f"and ledger in {self._state}",
                )
            )

    async def _rounds(self, engine: Engine, link: NodeEnd) -> None:
        await link.hello
        await engine.come_up()
        if self._private is not None:
            await self._private.heed_records(engine.load_record, engine.head.round, self._identity.peer_id)
        await engine.run(link, self._config.max_rounds)

    def _sink(self, event: events.AnyEvent) -> None:
        self._log(event)
        if self._portrait is not None:
            self._portrait.see(unix_s(), event)
        self._services.see(event)
        counted = self._startup.see(event)
        if counted is not None:
            self._log(counted)

    def _say(self, text: str) -> None:
        self._sink(events.Note(text=text))


async def _leave(engine: Engine) -> None:
    """Says goodbye, unless nobody listens: a directory that does not answer must not hold up whoever leaves."""
    leaving = asyncio.create_task(engine.leave())
    await asyncio.wait((leaving,), timeout=LEAVE_LIMIT_S)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    if engine.ctx is not None:
        engine.ctx.close()


def run_node(config: NodeConfig) -> int:
    """Runs a node to its end on uvloop; writes what a person must mend, and returns the exit code."""
    import uvloop

    torch.set_num_threads(1)
    keep_freed_chunks()
    leave_imports_out_of_collections()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Node(config).run())
    except TapestryError as error:
        write_cause(error)
        return 2 if isinstance(error, UsageError) else 1
    return 0
