"""The bootstrap node: a well-known address. It serves the charter, state 0 and the directory; it may be a witness.

It is no coordinator: it sees no update, decides nothing alone, and once two peers know each other it may die for good.
Where the charter names it a witness it also votes, without holding any state (swarm.round.witness).
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

from multiaddr import Multiaddr

from swarm import events
from swarm.charter import files
from swarm.charter.holdings import in_force_for, newest_of
from swarm.charter.passport import Passport
from swarm.charter.signing import check_not_expired, verify_charter
from swarm.clock import unix_s
from swarm.errors import ProtocolError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream, AuditedTransport
from swarm.net.daemon import Daemon
from swarm.net.kademlia import KademliaDirectory
from swarm.net.libp2p import LibP2PTransport
from swarm.net.relay import Relay
from swarm.net.server import Server
from swarm.node.announcements import read_announcement
from swarm.node.evidence import Evidence
from swarm.node.observatory import Observatory
from swarm.round.acceptor import Acceptor
from swarm.round.witness import Witness
from swarm.sovereignty.gate import Gate
from swarm.sovereignty.labels import Label
from swarm.sovereignty.ledger import Ledger
from swarm.state.chain import Chain
from swarm.state.donor import Donor
from swarm.state.head import Head
from swarm.state.restarts import read_restarts
from swarm.state.resume import read_state_zero, state_zero
from swarm.state.run import Run
from swarm.state.shelf import Shelf
from swarm.state.store import DiskStore
from swarm.state.upload import free_upload

Announce = Callable[[str, str, bool, bool], None]
"""Told the multiaddr to join, the run id, whether state 0 is served, and whether this node is a witness."""


class BootstrapNode:
    """One bootstrap node, from its files to its door."""

    def __init__(
        self, *, charter: Path, identity: Path, state: Path, listen: Multiaddr, sink: Callable[[events.AnyEvent], None]
    ) -> None:
        """Reads and verifies the documents. Raises CharterError, IdentityError, StateError or UsageError."""
        signed = files.read(charter)
        self._run = Run(verify_charter(signed))
        self._charter_bytes = files.encode_toml(signed).encode()
        self._identity_path = identity
        self._identity = Identity.load(identity)
        self._store = DiskStore(state)
        self._state = state
        self._listen = listen
        self._sink = sink
        base_N = read_state_zero(charter.with_suffix("").with_name(charter.stem + ".state0.safetensors"))
        self._head: Head | None = None if base_N is None else state_zero(self._run, base_N)
        self._evidence: Evidence | None = None
        """What peers' ledgers are held to; from when the door opens."""
        self._donor = Donor(self._run, self._store, free_upload())
        self._relay = Relay()
        self._witness = Witness(self._run, self._identity, Acceptor(self._store), Chain(self._run, self._store))
        witnesses = self._run.charter.genesis.witnesses
        self._is_witness = self._identity.peer_id in {*witnesses, *self._witness.chain.mark.electorate.witnesses}
        self._shelf = Shelf(self._store, sink)
        self._shelf.look(self._witness.chain.mark.rules)
        check_not_expired(self._run_now.charter, unix_s())

    async def run(self, announce: Announce) -> None:
        """Serves until SIGTERM or SIGINT."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        async with contextlib.AsyncExitStack() as stack:
            daemon = await Daemon.start(identity=self._identity_path, listen=[self._listen], say=self._say)
            stack.callback(daemon.stop)
            watching = asyncio.create_task(daemon.watch())
            stack.callback(watching.cancel)
            transport = await LibP2PTransport.attach(daemon.control, (), self._say)
            stack.push_async_callback(transport.close)
            ledger = stack.enter_context(Ledger(self._state / "ledger.jsonl", unix_s))
            self._evidence = Evidence(
                run_id=self._run.id,
                identity=self._identity,
                ledger=ledger,
                folder=self._state,
                sink=self._sink,
                wall_clock=unix_s,
            )
            gate = Gate(region="", label=Label.PRIVATE, min_contributors=self._run.least_members)
            audited = AuditedTransport(transport, ledger, gate.standing)
            observatory = Observatory(
                run=self._run,
                gate=gate,
                head=lambda: self._witness.chain.mark.round,
                load_record=self._witness.chain.record,
                portrait=None,
                wall_clock=unix_s,
            )
            server = Server(
                transport=audited,
                charter=self._run.charter,
                run_id=self._run.id,
                charter_bytes=self._charter_bytes,
                dispatch=self._answer,
                sink=self._sink,
                wall_clock=unix_s,
                observe=observatory.answer,
                judge=lambda signed, remote: self._run_now.rules.admit(signed, remote, unix_s()),
                documents=lambda: self._shelf.held,
            )
            await audited.serve(server.handle)
            directory = await KademliaDirectory.create(transport.p2p, self._run.id, self._accept, ())
            stack.push_async_callback(directory.close)
            addresses = [str(address) for address in await transport.addresses()]
            outside = [text for text in addresses if "/127.0.0.1/" not in text]
            announce((outside or addresses)[0], self._run.id, self._head is not None, self._is_witness)
            told = asyncio.create_task(stopping.wait())
            stack.callback(told.cancel)
            await asyncio.wait((told, watching), return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()

    async def _answer(self, stream: AuditedStream, request: wire.Request, passport: Passport) -> None:
        match request:
            case wire.Park() | wire.RelayTo():
                await self._relay.attend(stream, request, is_observer=passport.role == "observer")
            case wire.ShowHead() if self._evidence is not None:
                await self._evidence.serve(stream, request)
            case wire.GetStatus():
                await stream.send(wire.Status(0, b"", 0, "bootstrap"))
            case wire.GetState() if self._head is not None:
                await self._donor.give_state(stream, request, self._head)
            case wire.GetRecords() | wire.GetState() | wire.GetResults():
                await stream.send(wire.Missing())
            case wire.Prepare() if self._is_witness:
                await stream.send(await self._witness.prepare(request, stream.remote))
            case wire.AskVote() if self._is_witness:
                await stream.send(await self._witness.vote(request, stream.remote))
            case wire.CastQuality() | wire.NoQuality():
                if self._is_witness:
                    self._witness.hear(stream.remote, request)
            case wire.PushRecord(record):
                if self._is_witness:
                    await self._witness.learn(record)
            case wire.PushRestarts(documents):
                if self._identity.peer_id in read_restarts(documents, self._run).witnesses:
                    self._is_witness = True
                if self._is_witness:
                    await self._witness.restart(documents)
            case wire.PushDocuments(documents):
                await self._shelf.save(self._shelf.take(self._witness.chain.mark.rules, documents))
            case wire.GetRestarts():
                await stream.send(wire.RestartsAre(self._witness.restarts))
            case _:
                raise ProtocolError(f"a bootstrap node does not answer {type(request).__name__}")

    @property
    def _run_now(self) -> Run:
        """Under the rules in force. Who is no witness knows no round, and goes by the newest amendment."""
        mark = self._witness.chain.mark
        held = self._shelf.held
        rules = in_force_for(mark.rules, held, mark.round + 1)[0] if self._is_witness else newest_of(mark.rules, held)
        return self._run.under(rules)

    def _accept(self, peer: PeerId, data: bytes) -> bool:
        entry = read_announcement(data, self._run_now, unix_s())
        return entry is not None and entry.peer == peer

    def _say(self, text: str) -> None:
        self._sink(events.Note(text=text))
