"""What interfaces count beside what ledgers say: `make egress` (about two minutes; Linux, root or a user namespace).

Three real peers and a bootstrap node train in the lab: no loss, no relaying, and segmentation offload switched off,
so that every packet on the wire is counted with its own headers. Idle traffic is measured first, while the trainers
stand still: what the interface counts above the ledger, per second. Then come rounds. For each host:

    difference = (interface - idle/s x seconds - ledger) / ledger        of bytes sent

The interface is read at the router's end of the host's link. The ledger's figure is its payload with the headers that
each frame needs (swarm.sovereignty.on_wire), as `tapestry audit verify` gives it; against the bare payload the
difference is shown too. What is left are acknowledgements, retransmissions and libp2p's framing.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.wan import inside, lab
from benchmarks.wan.lab import Lab
from benchmarks.wan.privilege import become_root_of_a_user_namespace
from benchmarks.wan.topology import Host, Topology, host_outer
from swarm import events
from swarm.charter.manifest import Training
from swarm.identity.key import Identity
from swarm.sovereignty.on_wire import on_wire_bytes
from tests.integration.papers import MODEL, Papers
from tests.integration.processes import Peer, Running, command_line, descendants, wait_for

LIMIT = 0.05
_PORT = 31337
_LISTEN = f"/ip4/0.0.0.0/tcp/{_PORT}"
_NAMES = ("ada", "bo", "cy")
_TOPOLOGY = Topology(hosts=tuple(Host(rate_bps=200_000_000) for _ in range(4)), round_trip_s=0.01)
_MODEL = {**MODEL, "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 4}
_TRAINING = Training(inner_steps=2, batch_size=1, sequence_length=32)
_IDLE_S = 20.0
_QUIET_BYTES_PER_S = 50_000


@dataclass(frozen=True)
class Reading:
    """One instant."""

    at_s: float
    interface: dict[str, int]
    """Bytes each host has sent."""
    payload: dict[str, int]
    ledger: dict[str, int]
    """The payload with its headers."""


@dataclass(frozen=True)
class Row:
    """One host over the rounds."""

    host: str
    interface: int
    ledger: int
    idle_per_s: float
    difference: float
    of_payload: float


def main() -> None:
    become_root_of_a_user_namespace()
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    with tempfile.TemporaryDirectory() as name, lab.started(_TOPOLOGY) as built:
        running: list[Running] = []
        try:
            for host in range(len(_TOPOLOGY.hosts)):
                _count_every_packet(built, host)
            peers = _start(built, Path(name), running)
            rows = _measure(built, peers, rounds)
        finally:
            for one in running:
                if one.is_running:
                    one.process.kill()
                    one.process.wait()
        drops = built.counters().core_drops
    print(f"{rounds} rounds, bytes sent; {drops} packets lost in the lab")
    print(f"{'host':<6} {'interface':>14} {'ledger':>14} {'idle/s':>8} {'difference':>11} {'of payload':>11}")
    for row in rows:
        print(
            f"{row.host:<6} {row.interface:>14,} {row.ledger:>14,} {row.idle_per_s:>8,.0f} {row.difference:>11.2%} "
            f"{row.of_payload:>11.2%}"
        )
    assert all(abs(row.difference) <= LIMIT for row in rows), (
        f"a ledger and an interface differ by more than {LIMIT:.0%}"
    )


def _measure(built: Lab, peers: dict[str, Peer], rounds: int) -> list[Row]:
    for peer in peers.values():
        peer.wait_for(events.RoundCommitted)  # lanes stand, and everybody has met everybody
    _signal_trainers(peers, signal.SIGSTOP)
    idle_from = _when_quiet(built, peers)
    time.sleep(_IDLE_S)  # the length of what is measured
    begin = _read(built, peers)
    _signal_trainers(peers, signal.SIGCONT)
    first = max(peer.round for peer in peers.values())
    for peer in peers.values():
        peer.wait_for(events.RoundCommitted, lambda event: event.round >= first + rounds)
    _signal_trainers(peers, signal.SIGSTOP)
    end = _when_quiet(built, peers)
    return [_row(name, idle_from, begin, end) for name in peers]


def _row(name: str, idle_from: Reading, begin: Reading, end: Reading) -> Row:
    unseen = begin.interface[name] - idle_from.interface[name] - (begin.ledger[name] - idle_from.ledger[name])
    idle_per_s = unseen / (begin.at_s - idle_from.at_s)
    interface = end.interface[name] - begin.interface[name]
    ledger, payload = end.ledger[name] - begin.ledger[name], end.payload[name] - begin.payload[name]
    busy = interface - idle_per_s * (end.at_s - begin.at_s)
    return Row(name, interface, ledger, idle_per_s, busy / ledger - 1, busy / payload - 1)


def _start(built: Lab, folder: Path, running: list[Running]) -> dict[str, Peer]:
    papers = Papers(folder / "papers", model=_MODEL, training=_TRAINING, chunk_elements=262_144)
    bootstrap = Running(
        *("bootstrap", "--json", "--charter", papers.charter_path, "--identity", papers.bootstrap_key),
        *("--state", folder / "bootstrap", "--listen", _LISTEN),
        command=_inside(built, 0, sys.executable, "-m", "peers"),
    )
    running.append(bootstrap)
    wait_for("the bootstrap node", lambda: "\n" in bootstrap.stdout)
    join = f"/ip4/{host_outer(0)}/tcp/{_PORT}/p2p/{Identity.load(papers.bootstrap_key).peer_id}"
    peers: dict[str, Peer] = {}
    for host, name in enumerate(_NAMES, 1):
        words = [*papers.of(name).words(), "--join", join, "--listen", _LISTEN]
        command = _inside(built, host, sys.executable, "-m", "peers")
        peers[name] = Peer(folder / name, *words, command=command)
        running.append(peers[name])
    return peers


def _read(built: Lab, peers: dict[str, Peer]) -> Reading:
    counted = built.counters().hosts
    sent = {name: _sent(peer) for name, peer in peers.items()}
    return Reading(
        at_s=time.monotonic(),
        interface={name: counted[host].out_bytes for host, name in enumerate(_NAMES, 1)},
        payload={name: sum(sizes) for name, sizes in sent.items()},
        ledger={name: sum(map(on_wire_bytes, sizes)) for name, sizes in sent.items()},
    )


def _sent(peer: Peer) -> list[int]:
    """Lengths of the frames on record, from the whole lines of a ledger that is being written."""
    lines = (peer.state / "ledger.jsonl").read_bytes().split(b"\n")[:-1]
    return [size for line in lines if (size := json.loads(line)["bytes"])]


def _when_quiet(built: Lab, peers: dict[str, Peer]) -> Reading:
    """The first reading after two seconds in which no host sent much."""
    seen = [_read(built, peers)]

    def is_quiet() -> bool:
        if time.monotonic() - seen[-1].at_s < 1.0:
            return False
        seen.append(_read(built, peers))
        pairs = [(seen[-1 - back], seen[-2 - back]) for back in range(min(2, len(seen) - 1))]
        return len(pairs) == 2 and all(
            now.interface[name] - then.interface[name] < _QUIET_BYTES_PER_S * (now.at_s - then.at_s)
            for now, then in pairs
            for name in peers
        )

    wait_for("silence on the wires", is_quiet)
    return seen[-1]


def _signal_trainers(peers: dict[str, Peer], number: signal.Signals) -> None:
    for peer in peers.values():
        for pid in descendants(peer.pid):
            with suppress(ProcessLookupError, FileNotFoundError):
                if "peers.trainer" in command_line(pid):
                    os.kill(pid, number)


def _count_every_packet(built: Lab, host: int) -> None:
    command = _inside(built, host, "ip", "link", "set", "dev", "eth0", "gso_max_segs", "1")
    subprocess.run(command, check=True, capture_output=True)


def _inside(built: Lab, host: int, *words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", inside.__name__, str(built.namespace_of(host)), *words)


if __name__ == "__main__":
    main()
