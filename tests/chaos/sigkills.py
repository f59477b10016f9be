"""SIGKILL at random instants, real processes: `python -m tests.chaos.sigkills --count 100`.

Four peers and a bootstrap node that votes, each a tree of real processes on loopback, train a very small model. Again
and again a random process of a random tree is killed and the same command started again, whatever the others are doing
at that instant; only when three are on their way back at once it waits for one of them. What every peer ever said and
wrote down is read all the while:

    no two state digests of one round, in the events of all peers and all of their lives
    no two values of one round, in the records on all disks
    at the end every peer is in one more round with all others, and all hold one digest

Nothing here is repeatable: instants of real processes are not. The seed fixes who is killed when, not what that hits.
"""

import argparse
import os
import random
import re
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Set
from contextlib import suppress
from pathlib import Path

from swarm import events
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.state.records import Record, value_digest
from tests.integration.conftest import Bootstrap, Crew
from tests.integration.papers import Papers
from tests.integration.processes import Peer, command_line, descendants, is_alive, wait_for

NAMES = ("ada", "bo", "cy", "dee")
PARTS = ("supervisor", "swarm.node", "peers.trainer", "p2pd")
BOOTSTRAP_SHARE = 0.08
"""Of the kills."""
MAX_AWAY = 2
"""Peers that may be on their way back when the next one dies: rounds may then stop until one of them is there."""
LONGEST_PAUSE_S = 4.0
CLOSED_DOOR = "is it running, and is the address the one it printed?"
STUCK_S = 240.0
"""Without a round for so long, the swarm counts as hung."""


class DivergedError(AssertionError):
    """Two committed values of one round."""


class Watch:
    """Everything the peers have said and written so far; each look reads only what is new."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read_bytes: Counter[str] = Counter()
        self._read_records: dict[str, int] = {}
        self.digests: dict[int, tuple[str, str]] = {}
        """By round: the state digest, and who said it first."""
        self.values: dict[int, tuple[bytes, str]] = {}
        """By round: the digest of the committed value, and on whose disk it was first."""
        self.kinds: Counter[str] = Counter()
        """Events by kind, over all peers and lives."""
        self.back: dict[str, tuple[int, float]] = {}
        """By peer: the last round it committed with others, and when that was read."""
        self.attempts: list[int] = []
        self.refusals: Counter[str] = Counter()
        """Frames refused, by reason with its numbers left out."""

    def look(self) -> None:
        """Raises DivergedError when two peers, or two lives of one, have different values of one round."""
        for name in NAMES:
            for event in self._new_events(name):
                self.kinds[type(event).__name__] += 1
                match event:
                    case events.RoundCommitted():
                        self._say(event.round, event.state_digest, name)
                        self.back[name] = (event.round, time.monotonic())
                        self.attempts.append(event.attempt)
                    case events.StateReady(round=number) if number > 0:
                        self._say(number, event.digest, name)
                    case events.FrameRefused(reason=reason):
                        self.refusals[re.sub(r"[0-9]+", "#", reason)] += 1
                    case _:
                        continue
            self._look_at_records(name)

    @property
    def front(self) -> int:
        return max(self.digests, default=0)

    def _say(self, number: int, digest: str, name: str) -> None:
        known, who = self.digests.setdefault(number, (digest, name))
        if known != digest:
            raise DivergedError(f"round {number}: {who} has state {known[:16]}, {name} has {digest[:16]}")

    def _new_events(self, name: str) -> Iterator[events.AnyEvent]:
        path = self._folder / name / "events.jsonl"
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._read_bytes[name])
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read_bytes[name] += len(whole) + len(newline)
        for line in whole.split(b"\n") if newline else ():
            yield events.decode_line(line).event

    def _look_at_records(self, name: str) -> None:
        folder = self._folder / name / "records"
        if not folder.exists():
            return
        seen = self._read_records.get(name, 0)
        for path in sorted(path for path in folder.iterdir() if path.name.isdecimal() and int(path.name) > seen):
            number = int(path.name)
            digest = value_digest(wire.decode(path.read_bytes(), Record).value)
            known, who = self.values.setdefault(number, (digest, name))
            if known != digest:
                raise DivergedError(f"round {number}: {who} and {name} hold records of different values")
            self._read_records[name] = number


class Shooting:
    """The kills of one run."""

    def __init__(self, crew: Crew, watch: Watch, seed: int) -> None:
        self._crew = crew
        self._watch = watch
        self._random = random.Random(seed)
        self._died_s: dict[str, float] = {}
        """Peers that are on their way back, and since when."""
        self.hits: Counter[str] = Counter()
        self.recoveries_s: list[float] = []
        """From a peer's death to its next committed round."""
        self.closed_doors = 0
        """Starts that failed because the bootstrap node was down at that instant."""
        self.progress_s = time.monotonic()
        self._front = 0

    def shoot(self, count: int) -> None:
        for done in range(1, count + 1):
            self._pause()
            self._kill_one()
            if done % 10 == 0 or done == count:
                stand = f"round {self._watch.front}, {len(self._died_s)} on their way back"
                print(f"{done} kills, {stand}: {dict(self.hits)}", flush=True)

    def look(self) -> None:
        """Reads what is new and brings back who died on its own account: nobody is to end but by a kill."""
        self._watch.look()
        now_s = time.monotonic()
        if self._watch.front > self._front:
            self._front, self.progress_s = self._watch.front, now_s
        assert now_s - self.progress_s < STUCK_S, f"no round within {STUCK_S:.0f} s after round {self._front}"
        for name, died_s in list(self._died_s.items()):
            _, seen_s = self._watch.back.get(name, (0, 0.0))
            if seen_s > died_s:
                del self._died_s[name]
                self.recoveries_s.append(seen_s - died_s)
        for name in NAMES:
            peer = self._crew[name]
            if peer.is_running:
                continue
            # The address it was given to join is the bootstrap node's, which may have been killed meanwhile.
            assert CLOSED_DOOR in peer.stderr, f"{name} ended by itself: {peer.stderr[-500:]}"
            self.closed_doors += 1
            self._crew.start(name)

    def _pause(self) -> None:
        """A random while, and until few enough are on their way back."""
        until_s = time.monotonic() + self._random.uniform(0.0, LONGEST_PAUSE_S)
        while time.monotonic() < until_s or len(self._died_s) > MAX_AWAY:
            self.look()
            time.sleep(0.05)

    def _kill_one(self) -> None:
        if self._random.random() < BOOTSTRAP_SHARE:
            self.hits["bootstrap"] += 1
            self._crew.bootstrap.kill()
            self._crew.bootstrap.start()
            return
        name, part = self._random.choice(NAMES), self._random.choice(PARTS)
        peer = self._crew[name]
        tree = [peer.pid, *descendants(peer.pid)]
        victim = next((pid for pid in tree if part in command_line(pid)), peer.pid)
        self.hits[part if victim != peer.pid else "supervisor"] += 1
        self._died_s[name] = time.monotonic()
        _kill(victim)
        peer.end()
        wait_for(f"the end of all of {name}", lambda: not any(is_alive(pid) for pid in tree), 30.0)
        self._crew.start(name)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it may have ended a moment ago
        os.kill(pid, signal.SIGKILL)


def run(count: int, seed: int, folder: Path) -> dict[str, object]:
    """Raises AssertionError with what did not hold."""
    papers = Papers(folder / "papers")
    bootstrap = Bootstrap(papers, folder / "bootstrap")
    crew = Crew(papers, bootstrap, folder / "crew")
    watch = Watch(folder / "crew")
    began_s = time.monotonic()
    try:
        for name in NAMES:
            crew.start(name)
        shooting = Shooting(crew, watch, seed)
        _until_all_are_in_one_round(shooting, watch, crew)
        shooting.shoot(count)
        last = _until_all_are_in_one_round(shooting, watch, crew)
        committed = sum(kind == "RoundCommitted" for kind in watch.kinds.elements())
        return {
            "kills": sum(shooting.hits.values()),
            "hits": dict(shooting.hits),
            "closed_doors": shooting.closed_doors,
            "rounds": watch.front,
            "records": len(watch.values),
            "commits_seen": committed,
            "in_a_later_attempt": sum(attempt > 1 for attempt in watch.attempts),
            "in_doubt": watch.kinds["RoundInDoubt"],
            "caught_up": watch.kinds["CaughtUp"],
            "refused": dict(watch.refusals),
            "median_return_s": round(statistics.median(shooting.recoveries_s), 1),
            "longest_return_s": round(max(shooting.recoveries_s), 1),
            "final_round": last,
            "seconds": round(time.monotonic() - began_s),
        }
    finally:
        crew.end()
        bootstrap.kill()


def _until_all_are_in_one_round(shooting: Shooting, watch: Watch, crew: Crew) -> int:
    """Waits for a round that every peer commits from now on, and returns it; its one digest is checked on the way."""
    since = watch.front
    ids = {crew.papers.peers[name].peer_id for name in NAMES}
    while True:
        shooting.look()
        committed = [{event.round for event in _later(crew[name], since, ids)} for name in NAMES]
        together = set.intersection(*committed)
        if together:
            return max(together)
        time.sleep(0.2)


def _later(peer: Peer, since: int, ids: Set[PeerId]) -> list[events.RoundCommitted]:
    found = peer.happened(events.RoundCommitted)
    return [event for event in found if event.round > since and ids <= set(event.contributors)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="how many kills")
    parser.add_argument("--seed", type=int, default=0, help="who is killed, and after which pauses")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sigkills-") as folder:
        try:
            figures = run(arguments.count, arguments.seed, Path(folder))
        except (AssertionError, ProtocolError) as error:
            print(f"failed: {error}", flush=True)
            return 1
    for name, figure in figures.items():
        print(f"{name:>20}  {figure}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
