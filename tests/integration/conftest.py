"""Fixtures: the papers of a run (once per session), its bootstrap node, and a crew of three running peers."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarm import events
from tests.integration.papers import Papers
from tests.integration.processes import Peer, Running, wait_for

LOOPBACK = "/ip4/127.0.0.1/tcp/0"


class Bootstrap:
    """The run's bootstrap node, at an address that stays the same when it is restarted."""

    def __init__(self, papers: Papers, folder: Path) -> None:
        self._papers = papers
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.running: Running | None = None

    def start(self) -> str:
        """Starts it if it does not run; the address to join."""
        if self.running is None or not self.running.is_running:
            papers = self._papers
            self.running = Running(
                *("bootstrap", "--json", "--charter", papers.charter_path, "--identity", papers.bootstrap_key),
                *("--state", self._folder, "--listen", f"/ip4/127.0.0.1/tcp/{self.port}"),
            )
        running = self.running

        def is_up() -> bool:
            assert running.is_running, running.stderr
            return "\n" in running.stdout

        wait_for("the bootstrap node", is_up)
        return json.loads(running.stdout)["join"]

    def kill(self) -> None:
        if self.running is not None:
            self.running.kill()


class Crew:
    """Three genesis peers; a test may kill any, the next one gets them all back."""

    def __init__(self, papers: Papers, bootstrap: Bootstrap, folder: Path) -> None:
        self.papers = papers
        self.bootstrap = bootstrap
        self.folder = folder
        self.peers: dict[str, Peer] = {}

    def __getitem__(self, name: str) -> Peer:
        return self.peers[name]

    def start(self, name: str, *more: object, join: str | None = None, terminal_fd: int | None = None) -> Peer:
        """Starts (or restarts, with its old state folder) a peer."""
        words = [*self.papers.of(name).words(), "--join", join or self.bootstrap.start(), "--listen", LOOPBACK]
        self.peers[name] = Peer(self.folder / name, *words, *more, terminal_fd=terminal_fd)
        return self.peers[name]

    def muster(self) -> "Crew":
        """Starts whoever does not run and waits until the three have committed a round together."""
        self.bootstrap.start()
        for name in self.peers.keys() - self.papers.members:
            self.peers.pop(name).kill()  # what a failed test left running
        fresh = [n for n in self.papers.members if n not in self.peers or not self.peers[n].is_running]
        for name in fresh:
            self.start(name)
        front = max((self[name].round for name in self.papers.members if name not in fresh), default=0)
        three = {self.papers.peers[name].peer_id for name in self.papers.members}
        for name in self.papers.members:
            self[name].wait_for(
                events.RoundCommitted, lambda event: event.round > front and three <= set(event.contributors)
            )
        return self

    def end(self) -> None:
        for peer in self.peers.values():
            peer.kill()


@pytest.fixture(scope="session")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="session")
def bootstrap(papers: Papers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bootstrap]:
    node = Bootstrap(papers, tmp_path_factory.mktemp("bootstrap"))
    node.start()
    yield node
    node.kill()


@pytest.fixture(scope="module")
def shared_crew(papers: Papers, bootstrap: Bootstrap, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    crew = Crew(papers, bootstrap, tmp_path_factory.mktemp("crew"))
    yield crew
    crew.end()


@pytest.fixture
def crew(shared_crew: Crew) -> Crew:
    """Three peers that have just committed a round together."""
    return shared_crew.muster()
