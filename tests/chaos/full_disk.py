"""A disk that is really full, under a real peer in the middle of its rounds: `python -m tests.chaos.full_disk`.

Three peers and a bootstrap node on loopback. The state folder of one of them lies on a small file system of its own
(a tmpfs in a mount namespace), which is filled and emptied again:

    no room for a checkpoint    it says which stays, and goes on committing rounds
    no room for anything        it ends with one line that says so; the others go on
    room again                  the same command goes on, at the last round it had committed or later, as the same peer

No round has two state digests. Needs root, or unprivileged user namespaces.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from swarm import events
from tests.integration.conftest import Bootstrap, Crew
from tests.integration.papers import MODEL, Papers
from tests.integration.processes import Peer, wait_for

SMALL = "cy"
OTHERS = ("ada", "bo")
DISK_BYTES = 64 * 2**20
CHUNK_ELEMENTS = 65_536
WIDE_MODEL = {**MODEL, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}
"""Checkpoints are large beside what the ledger and the event log need for some rounds."""
ROUNDS_BEFORE = 10
"""From then on old results make room for new ones."""
ROUNDS_ON = 3
_BLOCK_BYTES = 4096


class Ballast:
    """A file that takes the room away."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ballast"
        self._folder = folder

    def leave(self, free_bytes: int) -> None:
        """Grows until so much is left, whatever others write meanwhile."""
        with self._path.open("ab", buffering=0) as file:
            while (more := self._free_bytes() - free_bytes) > 0:
                try:
                    file.write(bytes(min(more, 2**20)))
                except OSError:
                    return  # it is full

    def drop(self) -> None:
        self._path.unlink()

    def _free_bytes(self) -> int:
        found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize


def play(folder: Path, say: Callable[[str], None]) -> None:
    """One disk that fills up. Raises AssertionError if anything that must hold does not."""
    papers = Papers(folder / "papers", model=WIDE_MODEL, chunk_elements=CHUNK_ELEMENTS)
    bootstrap = Bootstrap(papers, folder / "bootstrap")
    crew = Crew(papers, bootstrap, folder / "crew")
    try:
        crew.muster()
        crew[SMALL].wait_for_round(ROUNDS_BEFORE)
        _fill(crew, Ballast(crew[SMALL].state), say)
    finally:
        crew.end()
        bootstrap.kill()


def _fill(crew: Crew, ballast: Ballast, say: Callable[[str], None]) -> None:
    small, papers = crew[SMALL], crew.papers
    identity, checkpoint_bytes = small.id, 8 * papers.charter.model.parameters
    ballast.leave(checkpoint_bytes // 2)
    failed = small.wait_for(events.CheckpointFailed)
    assert isinstance(failed, events.CheckpointFailed)
    assert "No space left on device" in failed.reason and 0 < failed.newest < failed.round, failed
    small.wait_for_round(failed.round + ROUNDS_ON)
    say(f"no room for a checkpoint: that of round {failed.newest} stays, rounds go on to {small.round}")

    ballast.leave(0)
    wait_for("the end of a peer whose disk is full", lambda: not small.is_running)
    code, said = small.end(), small.stderr.strip().splitlines()
    assert code == 1 and said[-1].startswith("tapestry: cannot "), (code, said)
    assert "No space left on device" in said[-1] and not any("Traceback" in line for line in said), said
    last = max(event.round for event in small.happened(events.RoundCommitted))
    front = max(crew[name].round for name in OTHERS)
    for name in OTHERS:
        crew[name].wait_for_round(front + ROUNDS_ON)
    say(f"no room for anything: it ends after round {last} with {said[-1]!r}, the others go on")

    ballast.drop()
    on_disk = max(int(path.name) for path in (small.state / "records").iterdir() if path.name.isdecimal())
    assert on_disk >= last, (on_disk, last)
    again = crew.start(SMALL)
    ready = again.wait_for(events.StateReady)
    assert isinstance(ready, events.StateReady)
    assert again.id == identity and ready.round >= last, (ready, last)
    counted = again.wait_for(events.RoundCommitted, lambda event: identity in event.contributors)
    assert isinstance(counted, events.RoundCommitted)
    say(f"room again: round {on_disk} is on its disk, it stands at {ready.round}, counted again in {counted.round}")
    _check_one_state_a_round([*crew.peers.values(), small])


def _check_one_state_a_round(peers: list[Peer]) -> None:
    digests: dict[int, set[str]] = {}
    for peer in peers:
        for event in peer.happened(events.RoundCommitted):
            digests.setdefault(event.round, set()).add(event.state_digest)
    split = sorted(number for number, found in digests.items() if len(found) > 1)
    assert not split, f"rounds with two states: {split}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    if not parser.parse_args().inside:
        as_root = () if os.geteuid() == 0 else ("--user", "--map-root-user")
        python = (sys.executable, "-m", "tests.chaos.full_disk", "--inside")
        os.execvp("unshare", ["unshare", *as_root, "--mount", "--", *python])
    with tempfile.TemporaryDirectory(prefix="tapestry-disk-") as folder, _mounted(Path(folder) / "crew" / SMALL):
        try:
            play(Path(folder), lambda text: print(text, flush=True))
        except AssertionError as error:
            print(f"failed: {error}", file=sys.stderr)
            sys.exit(1)


@contextmanager
def _mounted(folder: Path) -> Generator[None]:
    """A small file system of its own, in this process's mount namespace."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


if __name__ == "__main__":
    main()
