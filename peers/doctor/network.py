"""Checks that need a network: p2pd, and with somebody to ask, the way there, NAT and the clock.

A throw-away identity asks; the run learns nothing of this peer, and what is sent are a few requests.
"""

import asyncio
from collections.abc import Callable, Sequence

from multiaddr import Multiaddr

from peers.doctor.answers import clock, reachability
from peers.doctor.charters import charter_of
from peers.doctor.finding import Finding, good, note, wrong
from swarm import events
from swarm.clock import unix_s
from swarm.errors import NetworkError
from swarm.identity.key import Identity
from swarm.net import wire
from swarm.net.addresses import peer_of
from swarm.net.audited import AuditedTransport
from swarm.net.calls import Caller
from swarm.net.daemon import Daemon
from swarm.net.libp2p import LibP2PTransport
from swarm.net.private_folder import PrivateFolder
from swarm.node.clocks import ClockCheck
from swarm.node.entry import connects
from swarm.node.reach import Reaching
from swarm.sovereignty.gate import Gate
from swarm.sovereignty.labels import Label
from swarm.sovereignty.ledger import Ledger

_STRANGER = wire.Hello("", b"")

Say = Callable[[Finding], None]


async def check(listen: Sequence[Multiaddr], joins: Sequence[Multiaddr], say: Say) -> None:
    """Reports one finding after another; ends early where one thing rests on another that is wrong."""
    folder = PrivateFolder()
    try:
        identity = folder.path / "doctor.key"
        Identity.generate().save(identity)
        try:
            daemon = await Daemon.start(identity=identity, listen=listen, say=lambda _: None)
        except NetworkError as error:
            say(wrong("p2pd", str(error), "mend what its log names"))
            return
        try:
            say(good("p2pd", "starts"))
            await _with_daemon(daemon, listen, joins, say)
        finally:
            daemon.stop()
    finally:
        folder.remove()


async def _with_daemon(daemon: Daemon, listen: Sequence[Multiaddr], joins: Sequence[Multiaddr], say: Say) -> None:
    if not joins:
        say(note("reachability", "nobody to ask", "--join MULTIADDR of a bootstrap node checks NAT and clock too"))
        return
    transport = await LibP2PTransport.attach(daemon.control, listen, lambda _: None)
    try:
        reached = [address for address in joins if await connects(transport, [address])]
        for address in joins:
            say(_answered(address, is_reached=address in reached))
        if not reached:
            return
        peers = [peer_of(address) for address in reached]
        with Ledger(None, unix_s) as ledger:
            gate = Gate(region="", label=Label.PRIVATE, min_contributors=wire.MAX_PEERS)
            caller = Caller(AuditedTransport(transport, ledger, gate.standing), _STRANGER)
            for address in reached:
                say(await charter_of(caller, address))
            heard: list[events.AnyEvent] = []
            answers = await ClockCheck(unix_s, heard.append).check(caller, peers)
            say(clock(heard, answers))
            heard.clear()
            await Reaching(transport, heard.append).ask(peers)
            say(reachability(heard))
    finally:
        await transport.close()


def _answered(address: Multiaddr, *, is_reached: bool) -> Finding:
    if is_reached:
        return good("way in", f"{address} answers")
    remedy = "is it running, is the address the one it printed, and does a firewall let TCP out?"
    return wrong("way in", f"{address} does not answer", remedy)


def run(listen: Sequence[Multiaddr], joins: Sequence[Multiaddr], say: Say) -> None:
    """`check` on an event loop of its own."""
    asyncio.run(check(listen, joins, say))
