"""One public peer and two behind two different NATs train together, in the lab's namespaces: `make nat`.

Every host is a namespace of its own; the two routers masquerade and drop what they did not ask for. What is printed is
what the peers themselves report, and the bytes that were relayed.
"""

import contextlib
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

from benchmarks.wan import inside, lab
from benchmarks.wan.lab import Lab
from benchmarks.wan.privilege import become_root_of_a_user_namespace
from benchmarks.wan.topology import Host, Topology, host_outer
from swarm import events
from swarm.errors import TapestryError
from swarm.identity.key import Identity
from tests.integration import watching
from tests.integration.papers import Papers
from tests.integration.processes import Peer, Running, wait_for
from tests.screens.swarm import observer_papers

_MBIT = 1_000_000
_PORT = 31337
LISTEN = f"/ip4/0.0.0.0/tcp/{_PORT}"
BOOTSTRAP, PUBLIC, *GUESTS = range(4)
"""Hosts: the bootstrap node's, the public peer's, and two behind NATs."""
NAMES = {PUBLIC: "ada", GUESTS[0]: "bo", GUESTS[1]: "cy"}
TOPOLOGY = Topology(
    hosts=tuple(Host(rate_bps=100 * _MBIT, nat=index in GUESTS, silent=index in GUESTS) for index in range(4)),
    round_trip_s=0.04,
)


class Natted:
    """The running crew."""

    def __init__(self, built: Lab, papers: Papers, folder: Path) -> None:
        self._lab = built
        self._papers = papers
        self._folder = folder
        node = Identity.load(papers.bootstrap_key).peer_id
        self._join = f"/ip4/{host_outer(BOOTSTRAP)}/tcp/{_PORT}/p2p/{node}"
        self.bootstrap = Running(
            *("bootstrap", "--json", "--charter", papers.charter_path, "--identity", papers.bootstrap_key),
            *("--state", folder / "bootstrap", "--listen", LISTEN),
            command=self._inside(BOOTSTRAP),
        )
        self.peers: dict[int, Peer] = {}

    def _inside(self, host: int) -> tuple[str, ...]:
        namespace = str(self._lab.namespace_of(host))
        return (sys.executable, "-m", inside.__name__, namespace, sys.executable, "-m", "peers")

    def start(self, host: int) -> Peer:
        """Starts the peer of a host."""
        name = NAMES[host]
        words = [*self._papers.of(name).words(), "--join", self._join, "--listen", LISTEN]
        self.peers[host] = Peer(self._folder / name, *words, command=self._inside(host))
        return self.peers[host]

    def watch(self, peers: int) -> Running:
        """An observer on the bootstrap node's host; it ends with the view in which so many peers tell their figures."""
        papers = observer_papers(self._papers, self._folder / "observer")
        command = (*self._inside(BOOTSTRAP)[:-1], watching.__name__)
        return Running(self._join, papers.identity, papers.passport, peers, command=command)

    def start_all(self) -> None:
        wait_for("the bootstrap node", lambda: "\n" in self.bootstrap.stdout)
        for host in NAMES:
            self.start(host)

    def end(self) -> None:
        for running in (self.bootstrap, *self.peers.values()):
            if running.is_running:
                running.process.kill()
                running.process.wait()


@contextlib.contextmanager
def natted(folder: Path) -> Generator[Natted]:
    """The crew, started; gone when the block ends. Raises BenchError where no network can be built."""
    with lab.started(TOPOLOGY) as built:
        crew = Natted(built, Papers(folder / "papers"), folder)
        try:
            crew.start_all()
            yield crew
        finally:
            crew.end()


def together(crew: Natted) -> list[events.RoundCommitted]:
    """Rounds of the public peer that all three contributed to, so far."""
    everybody = {peer.id for peer in crew.peers.values()}
    committed = crew.peers[PUBLIC].happened(events.RoundCommitted)
    return [event for event in committed if everybody <= set(event.contributors)]


def main() -> None:
    try:
        become_root_of_a_user_namespace()
        play(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
    except (TapestryError, AssertionError) as error:
        print(f"failed: {error}", file=sys.stderr)
        sys.exit(1)


def play(rounds: int) -> None:
    """Prints what the three report. Raises TapestryError where no network can be built, AssertionError if they hang."""
    with tempfile.TemporaryDirectory() as folder, natted(Path(folder)) as crew:
        for peer in crew.peers.values():
            peer.wait_for(events.StateReady)
        wait_for(f"{rounds} rounds", lambda: len(together(crew)) >= rounds)
        for peer in crew.peers.values():
            reachable, sent = peer.happened(events.Reachable)[-1], peer.happened(events.BytesOut)[-1].by_kind
            through = (
                f" through {', '.join(f'…{relay[-8:]}' for relay in reachable.relays)}" if reachable.relays else ""
            )
            print(f"{peer.state.name}: {reachable.how}{through}, seen at {reachable.host}; {sent}")
        for event in together(crew):
            print(f"round {event.round}: {len(event.contributors)} contributed, {event.seconds:.2f} s")


if __name__ == "__main__":
    main()
