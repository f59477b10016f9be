"""Whether somebody who was reached serves the charter of a run that goes on. Asks as a stranger does."""

from multiaddr import Multiaddr

from peers.doctor.finding import Finding, good, wrong
from swarm.charter import files, signing
from swarm.charter.epochs import Rules
from swarm.charter.holdings import newest_of
from swarm.clock import unix_s
from swarm.errors import CharterError, ProtocolError, UsageError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.addresses import peer_of
from swarm.net.calls import Caller
from swarm.net.transport import StreamLostError
from swarm.state.run import Run
from swarm.state.shelf import Shelf
from swarm.state.store import MemoryStore

_LIMIT_S = 5.0


async def charter_of(caller: Caller, address: Multiaddr) -> Finding:
    """Whether somebody serves a charter that holds, of a run that is not over by the newest amendment there."""
    peer = peer_of(address)
    limit_bytes = wire.MAX_CHARTER_BYTES + wire.MAX_CHUNK_OVERHEAD_BYTES
    try:
        answer = await caller.ask(peer, wire.GetCharter(), wire.CharterIs, limit_bytes, _LIMIT_S)
        run = Run(signing.verify_charter(files.decode_bytes(answer.charter)))
        charter = (await _in_force(run, caller, peer)).charter
        signing.check_not_expired(charter, unix_s())
    except (StreamLostError, ProtocolError, CharterError, UsageError) as error:
        return wrong("charter", f"{address}: {error}", "ask whoever runs it")
    return good("charter", f'"{charter.run.name}", {charter.admission.kind} admission; pin it with --run-id {run.id}')


async def _in_force(run: Run, caller: Caller, peer: PeerId) -> Rules:
    """The rules that the amendments and revocations there lead to; those of the founders where it gives none."""
    try:
        answer = await caller.ask(peer, wire.GetDocuments(), wire.DocumentsAre, wire.MAX_CONTROL_BYTES, _LIMIT_S)
    except (StreamLostError, ProtocolError):
        return run.rules
    shelf = Shelf(MemoryStore(), lambda event: None)
    shelf.take(run.rules, answer.documents)
    return newest_of(run.rules, shelf.held)
