"""A door on the in-memory network that serves a charter, what follows it and records, as a bootstrap node's does."""

import asyncio
from dataclasses import dataclass

from swarm.charter import files
from swarm.charter.manifest import Charter
from swarm.charter.passport import Passport
from swarm.charter.signing import SignedCharter, sign_charter
from swarm.identity.key import Identity
from swarm.net import wire
from swarm.net.audited import AuditedStream, AuditedTransport
from swarm.net.calls import Caller
from swarm.net.memory import MemoryNetwork
from swarm.net.server import Server
from swarm.node.observatory import Observatory
from swarm.sovereignty.gate import Gate
from swarm.sovereignty.labels import Label
from swarm.sovereignty.ledger import Ledger
from swarm.state.run import Run
from tests.simulation import CREATED_S, MEMBER_KEYS

NOW_S = CREATED_S + 1000.0


def wall_clock() -> float:
    """The same everywhere, and moves with the loop's."""
    return NOW_S + asyncio.get_running_loop().time()


@dataclass
class Door:
    """What it gives can be changed while it stands open."""

    network: MemoryNetwork
    identity: Identity
    charter: Charter
    documents: tuple[bytes, ...] = ()
    records: tuple[bytes, ...] = ()
    observed: int = 0
    """How often somebody has asked to observe."""

    async def open(self) -> None:
        run = Run(self.charter)
        gate = Gate(region="eu", label=Label.OPEN, min_contributors=1)
        transport = AuditedTransport(
            self.network.transport(self.identity.peer_id), Ledger(None, lambda: 0.0), gate.standing
        )
        observatory = Observatory(
            run=run,
            gate=gate,
            head=lambda: len(self.records),
            load_record=lambda number: self.records[number - 1],
            portrait=None,
            wall_clock=wall_clock,
        )

        async def observe(stream: AuditedStream, request: wire.Observe, is_admitted: bool) -> None:
            self.observed += 1
            await observatory.answer(stream, request, is_admitted)

        async def dispatch(stream: AuditedStream, request: wire.Request, passport: Passport) -> None:
            raise AssertionError(f"nobody asks for {type(request).__name__} here")

        signed = sign_charter(SignedCharter(charter=self.charter), MEMBER_KEYS[0])
        server = Server(
            transport=transport,
            charter=self.charter,
            run_id=run.id,
            charter_bytes=files.encode_toml(signed).encode(),
            dispatch=dispatch,
            sink=lambda event: None,
            wall_clock=wall_clock,
            observe=observe,
            documents=lambda: self.documents,
        )
        await transport.serve(server.handle)


def caller(network: MemoryNetwork, identity: Identity, hello: wire.Hello) -> Caller:
    """Somebody who takes no part, and may send requests only."""
    gate = Gate(region="", label=Label.PRIVATE, min_contributors=99)
    transport = AuditedTransport(network.transport(identity.peer_id), Ledger(None, lambda: 0.0), gate.standing)
    return Caller(transport, hello)
