"""An observer on the real network: an identity and a daemon of its own, the charter, the directory, and a `Watcher`.

Its identity is a fresh one unless a key is given; a passport, if it has one, goes with that key. It enters the
directory as a client: nobody finds it there, and it keeps no records for others.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from multiaddr import Multiaddr

from swarm.charter import files, signing
from swarm.charter import passport as passports
from swarm.charter.documents import read_document
from swarm.charter.manifest import Charter
from swarm.clock import unix_s
from swarm.errors import CharterError, NetworkError, PassportError, ProtocolError, UsageError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.addresses import parse_join_address, parse_listen_address, peer_of
from swarm.net.audited import AuditedTransport
from swarm.net.calls import Caller
from swarm.net.daemon import Daemon
from swarm.net.kademlia import KademliaDirectory
from swarm.net.libp2p import LibP2PTransport
from swarm.net.private_folder import PrivateFolder
from swarm.net.relayed import Relayed
from swarm.net.transport import StreamLostError
from swarm.node.announcements import read_announcement
from swarm.node.entry import reach
from swarm.node.watcher import Watcher
from swarm.sovereignty.gate import Gate
from swarm.sovereignty.labels import Label
from swarm.sovereignty.ledger import Ledger
from swarm.state.run import Run
from swarm.telemetry.seen import Remark, Seen

_FETCH_LIMIT_S = 5.0
_NOWHERE = "/ip4/127.0.0.1/tcp/0"
"""An observer dials and is not dialled."""


async def observe(
    join: Multiaddr,
    take: Callable[[Seen], None],
    *,
    run_id: str | None = None,
    passport: Path | None = None,
    identity: Path | None = None,
) -> None:
    """Watches the run behind `join` and hands everything seen to `take`, until cancelled.

    Raises:
        NetworkError: nobody answers there, or p2pd does not start.
        CharterError: the charter does not hold, or is not that of `run_id`.
        PassportError, IdentityError, UsageError: the papers cannot be used.
    """
    if passport is not None and identity is None:
        raise UsageError("--passport needs the --identity it was issued to")
    shown = b"" if passport is None else read_document(passport, passports.MAX_PASSPORT_BYTES, PassportError)
    if shown and identity is not None and passports.decode(shown).payload.peer_id != Identity.load(identity).peer_id:
        raise PassportError(f"{passport} was issued to another key than {identity}")
    async with contextlib.AsyncExitStack() as stack:
        key = identity or _fresh_key(stack)
        daemon = await Daemon.start(identity=key, listen=[parse_listen_address(_NOWHERE)], say=_quiet)
        stack.callback(daemon.stop)
        transport = await LibP2PTransport.attach(daemon.control, (), _quiet)
        stack.push_async_callback(transport.close)
        if not await reach(transport, {peer_of(join): [join]}):
            raise NetworkError(f"cannot reach {join}: is it running, and is the address the one it printed?")
        gate = Gate(region="", label=Label.PRIVATE, min_contributors=wire.MAX_PEERS)
        ledger = Ledger(None, unix_s)
        direct = AuditedTransport(transport, ledger, gate.standing)
        run = Run(await _charter(Caller(direct, wire.Hello("", b"")), peer_of(join), run_id))
        hello = wire.Hello(run.id, shown)
        relayed = Relayed(transport, Caller(direct, hello), Identity.load(key), run.id)
        stack.push_async_callback(relayed.close)

        watcher: Watcher | None = None

        def accept(peer: PeerId, data: bytes) -> bool:
            entry = read_announcement(data, run if watcher is None else watcher.run_now, unix_s())
            return entry is not None and entry.peer == peer

        async def connect(peer: PeerId, addresses: Sequence[str]) -> None:
            try:
                parsed = [parse_join_address(text) for text in addresses]
            except UsageError:
                return  # a peer's own mistake; others reach it, or do not
            if all(peer_of(address) == peer for address in parsed):
                await transport.connect(parsed)

        directory = await KademliaDirectory.create(transport.p2p, run.id, accept, [peer_of(join)], is_dialable=False)
        stack.push_async_callback(directory.close)
        trust = "as --run-id asked" if run_id is not None else "trusted because it was found there: --run-id pins it"
        take(Remark(subject="charter", at=unix_s(), text=f"run {run.id[:16]}, {trust}"))
        watcher = Watcher(
            run=run,
            caller=Caller(AuditedTransport(relayed, ledger, gate.standing), hello),
            directory=directory,
            entries=[peer_of(join)],
            take=take,
            wall_clock=unix_s,
            connect=connect,
            may_relay=bool(shown),
        )
        relayed.announced = lambda: watcher.announced
        watching = asyncio.create_task(watcher.keep_watching())
        stack.callback(watching.cancel)
        guarding = asyncio.create_task(daemon.watch())
        stack.callback(guarding.cancel)
        await asyncio.wait((watching, guarding), return_when=asyncio.FIRST_COMPLETED)
        for task in (watching, guarding):
            if task.done():
                task.result()


async def _charter(caller: Caller, peer: PeerId, run_id: str | None) -> Charter:
    """The founding charter that somebody serves, verified; an amendment may have moved its expiry since.

    Raises:
        NetworkError: it gives none.
        CharterError: the charter does not hold, or is not that of `run_id`.
    """
    limit_bytes = wire.MAX_CHARTER_BYTES + wire.MAX_CHUNK_OVERHEAD_BYTES
    try:
        answer = await caller.ask(peer, wire.GetCharter(), wire.CharterIs, limit_bytes, _FETCH_LIMIT_S)
    except (StreamLostError, ProtocolError) as error:
        raise NetworkError(f"{peer} gave no charter: {error}") from None
    charter = signing.verify_charter(files.decode_bytes(answer.charter))
    found = signing.run_id(charter)
    if run_id not in (None, found):
        raise CharterError(f"the swarm's charter has run id {found}, not the {run_id} you asked for")
    return charter


def _fresh_key(stack: contextlib.AsyncExitStack) -> Path:
    """An identity for this one watch."""
    folder = PrivateFolder()
    stack.callback(folder.remove)
    path = folder.path / "identity.key"
    Identity.generate().save(path)
    return path


def _quiet(text: str) -> None:
    """What libp2p says meanwhile interests nobody who watches."""
