"""Real peers on two sides of a cable, and a bootstrap node on the east side: what `split.py` plays with.

Papers are of two kinds: members' peers, of which more than half must be there, and volunteers, who go on as they are.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from swarm import events
from swarm.charter import manifest
from swarm.charter.signing import run_id
from swarm.identity.key import Identity
from tests.chaos.cable import HOSTS, Cable
from tests.integration.papers import Papers
from tests.integration.processes import Peer, Running, wait_for

PORT = 4801
TRAINING = manifest.Training(inner_steps=600, batch_size=4, sequence_length=32)
"""Rounds of several seconds, as real ones: connections that hung while the cable was cut take a while to come back."""
BACK_LIMIT_S = 180.0


def members_papers(folder: Path, names: Sequence[str]) -> Papers:
    """The integration tests' run, with these electors and no witness."""
    papers = Papers(folder, training=TRAINING)
    for name in set(names) - papers.peers.keys():
        papers.peers[name] = Identity.generate()
    genesis = manifest.Genesis(peers=tuple(papers.peers[name].peer_id for name in names))
    return _signed(papers, msgspec.structs.replace(papers.charter, genesis=genesis))


def volunteers_papers(folder: Path, names: Sequence[str]) -> Papers:
    """An open run without members, in which whoever is there goes on."""
    papers = members_papers(folder, names)
    charter = msgspec.structs.replace(
        papers.charter,
        members=(),
        admission=manifest.Admission(kind="open"),
        quorum=manifest.Quorum(kind="available"),
        weights=manifest.Weights(cap_percent=100),
    )
    return _signed(papers, charter)


def _signed(papers: Papers, charter: manifest.Charter) -> Papers:
    papers.charter, papers.run_id = charter, run_id(charter)
    papers.sign(charter, papers.charter_path)
    return papers


class Swarm:
    """The process trees."""

    def __init__(self, papers: Papers, cable: Cable, folder: Path, west: Sequence[str], east: Sequence[str]) -> None:
        self.west, self.east = tuple(west), tuple(east)
        listen = f"/ip4/{HOSTS['east']}/tcp"
        self.bootstrap = Running(
            *("bootstrap", "--json", "--charter", papers.charter_path, "--identity", papers.bootstrap_key),
            *("--state", folder / "bootstrap", "--listen", f"{listen}/{PORT}"),
            command=cable.command("east"),
        )
        wait_for("the bootstrap node", lambda: self._alive(self.bootstrap) and "\n" in self.bootstrap.stdout)
        join = msgspec.json.decode(self.bootstrap.stdout)["join"]
        self.peers: dict[str, Peer] = {}
        for name in self.names:
            side = "west" if name in self.west else "east"
            words = [*_words(papers, name), "--join", join, "--listen", f"/ip4/{HOSTS[side]}/tcp/0"]
            self.peers[name] = Peer(folder / name, *words, command=cable.command(side))

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.west, *self.east)

    def front(self, *names: str) -> int:
        return max(self.peers[name].round for name in names)

    def wait_for_rounds(self, number: int, *names: str, limit_s: float = BACK_LIMIT_S) -> float:
        """Seconds until each of them has committed, or caught up with, a round."""
        began_s = time.monotonic()

        def are_there() -> bool:
            return all(self._alive(self.peers[name]) and self.peers[name].round >= number for name in names)

        wait_for(f"round {number} of {', '.join(names)}", are_there, limit_s)
        return time.monotonic() - began_s

    def wait_for_all_counted(self, after: int) -> int:
        """The first round after that in which everybody's update was counted."""
        ids = {peer.id for peer in self.peers.values()}

        def is_whole(event: events.RoundCommitted) -> bool:
            return event.round > after and ids <= set(event.contributors)

        found = self.peers[self.east[0]].wait_for(events.RoundCommitted, is_whole)
        assert isinstance(found, events.RoundCommitted)
        return found.round

    def check_one_state_a_round(self) -> int:
        """Raises AssertionError if two peers ever had different states of a round; how many rounds were compared."""
        digests: dict[int, set[str]] = {}
        for peer in self.peers.values():
            for event in peer.happened(events.RoundCommitted):
                digests.setdefault(event.round, set()).add(event.state_digest)
        split = {number for number, found in digests.items() if len(found) > 1}
        assert not split, f"rounds with two states: {sorted(split)}"
        return len(digests)

    def end(self) -> None:
        for running in (*self.peers.values(), self.bootstrap):
            if running.is_running:
                running.process.kill()
                running.process.wait()

    @staticmethod
    def _alive(running: Running) -> bool:
        assert running.is_running, running.stderr
        return True


def _words(papers: Papers, name: str) -> list[object]:
    of = papers.of(name) if papers.charter.members else papers.volunteer(name)
    return of.words()
