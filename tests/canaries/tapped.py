"""A small swarm of real processes in the lab: every node tapped before encryption, every wire listened to."""

import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Generator
from pathlib import Path

from benchmarks.wan import inside, lab
from benchmarks.wan.lab import Lab
from benchmarks.wan.topology import Host, Topology, host_gateway, host_outer
from peers.extraction import Canary
from swarm.charter.manifest import Training
from swarm.identity.key import Identity
from tests.canaries import sniff, tap
from tests.integration.papers import MODEL, Papers
from tests.integration.processes import Peer, Running, tapestry, wait_for

_PORT = 31337
_LISTEN = f"/ip4/0.0.0.0/tcp/{_PORT}"
NAMES = ("ada", "bo", "cy")
"""Hosts 1 to 3; the bootstrap node is host 0."""
_WITH_ROWS = "bo"
"""Whose text lies in JSON lines, which its trainer turns into text."""
TOPOLOGY = Topology(hosts=tuple(Host(rate_bps=200_000_000) for _ in range(4)), round_trip_s=0.01)
TRAINING = Training(inner_steps=20, batch_size=4, sequence_length=96)


class Tapped:
    """The crew, started."""

    def __init__(self, built: Lab, folder: Path, canaries: tuple[Canary, ...]) -> None:
        self.folder = folder
        self._lab = built
        self._papers = Papers(
            folder / "papers", model={**MODEL, "hidden_size": 64, "max_position_embeddings": 128}, training=TRAINING
        )
        self._site = folder / "site-packages"  # a folder of that name is open to a node behind its walls
        self._site.mkdir()
        shutil.copy(tap.__file__, self._site / "sitecustomize.py")
        for number, name in enumerate(NAMES):
            data = self._papers.of(name).data
            self._plant(data / "text.txt", [each.text for each in canaries[number :: len(NAMES)]])
            if name == _WITH_ROWS:
                _as_rows(data)
        self.listeners = [self._listen(host) for host in range(len(TOPOLOGY.hosts))]
        node = Identity.load(self._papers.bootstrap_key).peer_id
        self._join = f"/ip4/{host_outer(0)}/tcp/{_PORT}/p2p/{node}"
        self.bootstrap = Running(
            *("bootstrap", "--json", "--charter", self._papers.charter_path, "--identity", self._papers.bootstrap_key),
            *("--state", folder / "bootstrap", "--listen", _LISTEN),
            command=self._command(0, sys.executable, "-m", "peers"),
        )
        wait_for("the bootstrap node", lambda: "\n" in self.bootstrap.stdout)
        self.peers: dict[str, Peer] = {}

    def start(self, name: str, leak: str = "") -> Peer:
        """Starts a peer, or starts it again; with `leak`, one whose node leaks that text."""
        host = 1 + NAMES.index(name)
        variables = [f"PYTHONPATH={self._site}"]
        if leak:
            variables += [f"TAPESTRY_TEST_LEAK={leak}", f"TAPESTRY_TEST_LEAK_TO={host_gateway(host)}"]
        command = self._command(host, "env", *variables, sys.executable, "-m", "peers")
        words = [*self._papers.of(name).words(), "--join", self._join, "--listen", _LISTEN]
        self.peers[name] = Peer(self.folder / name, *words, command=command)
        return self.peers[name]

    def wire(self, host: int) -> Path:
        """Every packet that this host saw."""
        return self.folder / f"wire-{host}.bin"

    def stop_peers(self) -> None:
        for peer in self.peers.values():
            if peer.is_running:
                peer.end(signal.SIGINT)

    def end(self) -> None:
        for running in (*self.peers.values(), self.bootstrap, *self.listeners):
            if running.is_running:
                running.process.kill()
                running.process.wait()

    def _command(self, host: int, *words: str) -> tuple[str, ...]:
        return (sys.executable, "-m", inside.__name__, str(self._lab.namespace_of(host)), *words)

    def _listen(self, host: int) -> Running:
        listener = Running(command=self._command(host, sys.executable, "-m", sniff.__name__, str(self.wire(host))))
        wait_for("a listener", lambda: "\n" in listener.stdout)
        return listener

    def _plant(self, text: Path, lines: list[str]) -> None:
        """Each canary once, spread over the text."""
        words = text.read_text().split(" ")
        for number, line in enumerate(lines, 1):
            words.insert(number * len(words) // (len(lines) + 1), line)
        text.write_text(" ".join(words))


def _as_rows(data: Path) -> None:
    """The text as one file of JSON lines, a sentence with a canary whole in one of them."""
    text = data / "text.txt"
    lines = [json.dumps({"text": row}) + "\n" for row in text.read_text().split(". ")]
    (data / "rows.jsonl").write_text("".join(lines))
    text.unlink()
    policy = data / "policy.toml"
    policy.write_text(policy.read_text().replace("*.txt", "*.jsonl"))


@contextlib.contextmanager
def tapped(folder: Path, canaries: tuple[Canary, ...]) -> Generator[Tapped]:
    """The crew with its bootstrap node; gone when the block ends. Raises BenchError where no network can be built."""
    with lab.started(TOPOLOGY) as built:
        crew = Tapped(built, folder, canaries)
        try:
            yield crew
        finally:
            crew.end()


def export_all(state: Path, out: Path) -> None:
    """The ledger as every tier may see it. Raises AssertionError when `tapestry` refuses."""
    for tier in ("public", "consortium", "private"):
        words = ["--out", out / f"{state.name}-{tier}.json", "--artefacts", out / f"{state.name}-{tier}-data.json"]
        done = tapestry("audit", "export", state, "--tier", tier, *words)
        assert done.returncode == 0, done.stderr


def everything_in(folder: Path) -> Generator[tuple[str, bytes]]:
    """Every file under a folder, by its name; sockets and links are passed over."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
            yield path.relative_to(folder).as_posix(), path.read_bytes()
