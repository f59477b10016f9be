"""A real swarm of five split in two and healed: `python -m tests.chaos.split`.

Five peers and a bootstrap node, each a tree of real processes, train a very small model on two sides of a cable that is
cut for a while and mended: two peers on the west side, three and the bootstrap node on the east side.

    while it is cut     the east side commits rounds; the west side commits none, says so, and trains on
    when it is mended   all five are in one round again, and everybody holds the base of each round that it has
    ever                no round has two state digests, over the events of all peers

How many rounds pass and how long it takes is printed; instants of real processes are not repeatable.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.wan.privilege import become_root_of_a_user_namespace
from swarm import events
from swarm.charter import manifest
from swarm.charter.signing import run_id
from swarm.identity.key import Identity
from tests.chaos.cable import HOSTS, Cable
from tests.integration.papers import Papers
from tests.integration.processes import Peer, Running, wait_for

WEST, EAST = ("ada", "bo"), ("cy", "dee", "eve")
NAMES = (*WEST, *EAST)
PORT = 4801
TRAINING = manifest.Training(inner_steps=600, batch_size=4, sequence_length=32)
"""Rounds of several seconds, as real ones: connections that hung while the cable was cut take a while to come back."""
ROUNDS_BEFORE, ROUNDS_CUT = 2, 6
IN_FLIGHT_S = 1.0
"""What was on its way when the cable was cut may still commit a round on either side."""
BACK_LIMIT_S = 180.0
WITHIN_ROUNDS = 2


def five_papers(folder: Path) -> Papers:
    """The integration tests' run, with five electors and no witness."""
    papers = Papers(folder, training=TRAINING)
    papers.peers["eve"] = Identity.generate()
    genesis = manifest.Genesis(peers=tuple(papers.peers[name].peer_id for name in NAMES))
    papers.charter = msgspec.structs.replace(papers.charter, genesis=genesis)
    papers.run_id = run_id(papers.charter)
    papers.sign(papers.charter, papers.charter_path)
    return papers


class Swarm:
    """The six process trees."""

    def __init__(self, papers: Papers, cable: Cable, folder: Path) -> None:
        listen = f"/ip4/{HOSTS['east']}/tcp"
        self.bootstrap = Running(
            *("bootstrap", "--json", "--charter", papers.charter_path, "--identity", papers.bootstrap_key),
            *("--state", folder / "bootstrap", "--listen", f"{listen}/{PORT}"),
            command=cable.command("east"),
        )
        wait_for("the bootstrap node", lambda: self._alive(self.bootstrap) and "\n" in self.bootstrap.stdout)
        join = msgspec.json.decode(self.bootstrap.stdout)["join"]
        self.peers: dict[str, Peer] = {}
        for name in NAMES:
            side = "west" if name in WEST else "east"
            words = [*papers.of(name).words(), "--join", join, "--listen", f"/ip4/{HOSTS[side]}/tcp/0"]
            self.peers[name] = Peer(folder / name, *words, command=cable.command(side))

    def front(self, *names: str) -> int:
        return max(self.peers[name].round for name in names)

    def wait_for_rounds(self, number: int, *names: str, limit_s: float = BACK_LIMIT_S) -> float:
        """Seconds until each of them has committed, or caught up with, a round."""
        began_s = time.monotonic()

        def are_there() -> bool:
            return all(self._alive(self.peers[name]) and self.peers[name].round >= number for name in names)

        wait_for(f"round {number} of {', '.join(names)}", are_there, limit_s)
        return time.monotonic() - began_s

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


def play(folder: Path) -> None:
    """One split and its healing. Raises AssertionError if anything that must hold does not."""
    papers = five_papers(folder / "papers")
    with Cable() as cable:
        swarm = Swarm(papers, cable, folder)
        try:
            swarm.wait_for_rounds(ROUNDS_BEFORE, *NAMES)
            print(f"five peers are at round {swarm.front(*NAMES)}; cutting the cable", flush=True)
            _cut_and_mend(swarm, cable)
        finally:
            swarm.end()


def _cut_and_mend(swarm: Swarm, cable: Cable) -> None:
    cable.cut()
    time.sleep(IN_FLIGHT_S)
    stood = swarm.front(*WEST)
    began_s = time.monotonic()
    east_s = swarm.wait_for_rounds(stood + ROUNDS_CUT, *EAST)
    for name in WEST:
        swarm.peers[name].wait_for(events.IslandBegan)
    cut_s = time.monotonic() - began_s
    assert swarm.front(*WEST) <= stood, "the side without a quorum committed a round"
    print(
        f"cut for {cut_s:.1f} s: the east side did {ROUNDS_CUT} rounds in {east_s:.1f} s, the west side none",
        flush=True,
    )
    cable.mend()
    mended = swarm.front(*EAST)
    began_s = time.monotonic()
    swarm.wait_for_rounds(mended, *WEST)
    swarm.wait_for_rounds(mended + WITHIN_ROUNDS, *NAMES)
    back_s = time.monotonic() - began_s
    behind = max(_first_after(swarm.peers[name], stood) - mended for name in WEST)
    assert behind <= WITHIN_ROUNDS, f"the west side came back only in round +{behind}"
    ids = {peer.id for peer in swarm.peers.values()}
    swarm.peers["cy"].wait_for(
        events.RoundCommitted, lambda event: event.round > mended and ids <= set(event.contributors)
    )
    whole = next(
        event.round
        for event in swarm.peers["cy"].happened(events.RoundCommitted)
        if event.round > mended and ids <= set(event.contributors)
    )
    compared = swarm.check_one_state_a_round()
    trained = sum(event.updates for name in WEST for event in swarm.peers[name].happened(events.IslandEnded))
    print(
        f"mended: {back_s:.1f} s later all five stand on one base, the west side from round +{max(behind, 0)} on; "
        f"all five counted in round +{whole - mended}; {compared} rounds, one state each; "
        f"the west side trained on {trained} times"
    )


def _first_after(peer: Peer, round_number: int) -> int:
    """The first round after `round_number` that a peer held the base of."""
    caught_up = [event.to_round for event in peer.happened(events.CaughtUp)]
    committed = [event.round for event in peer.happened(events.RoundCommitted)]
    return min(number for number in (*caught_up, *committed) if number > round_number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    become_root_of_a_user_namespace()
    with tempfile.TemporaryDirectory(prefix="tapestry-split-") as folder:
        try:
            play(Path(folder))
        except AssertionError as error:
            print(f"failed: {error}", file=sys.stderr)
            sys.exit(1)


if __name__ == "__main__":
    main()
