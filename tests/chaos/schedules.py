"""Random schedules of faults, each a function of its seed: `python -m tests.chaos.schedules --seed N -v` replays one.

A schedule makes a swarm of 3 to 8 peers under a charter of its own (any codec, one to three regions, one level or two,
groups so small that regions form cohorts, links said to be unequal), lets several faults loose on it at once (deaths at
the k-th frame or write of a peer, freezes, partitions, slow links, slow trainers, newcomers, everybody dying at one
instant), stops them, and demands what tests/chaos/checks.py lists, and three more rounds and a seat in one of them for
all that live, within `RECOVERY_LIMIT_S`.
"""

import argparse
import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from swarm import events
from swarm.net import wire
from swarm.net.memory import Link, run_virtual
from swarm.state.records import Electorate, Value, value_digest
from swarm.state.roster import read_roster
from tests.chaos.shapes import JURISDICTIONS, Shape
from tests.memo import memoised
from tests.simulation import Simulation, peer_identity

WITNESS = 9
FAULTS_END_S = 40.0
MORE_ROUNDS = 3
NOTICED_S = 0.1
"""A death is seen so soon: what a leader proposes later does not count on the dead."""
RECOVERY_LIMIT_S = 240.0
"""Virtual seconds: a few attempts that wait for their ceiling, and the catching up of those that were away."""


@dataclass(frozen=True)
class Outcome:
    """What a schedule came to."""

    faults: Sequence[str]
    rounds: int
    recovery_s: float
    """Virtual seconds from the last fault to three more rounds."""


@dataclass
class Trap:
    """Runs `spring` when its peer comes to the given number of frames or writes."""

    number: int
    left: int
    spring: Callable[[], None]


@dataclass
class Schedule:
    """One seed's swarm and what happens to it."""

    seed: int
    say: Callable[[str], None]
    faults: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.shape = Shape.draw(self.random)
        self.genesis = self.random.randint(2, 5 if self.shape.group_peers is None else 6)
        most = 6 if self.shape.group_peers is None else 8
        self.newcomers = list(range(self.genesis, self.random.randint(max(3, self.genesis), most)))
        self.has_witness = self.random.random() < (0.7 if self.genesis == 2 else 0.2)
        self.undialable = {
            number for number in range(1, self.genesis + len(self.newcomers)) if self.random.random() < 0.2
        }
        witnesses = (peer_identity(WITNESS).peer_id,) if self.has_witness else ()
        latency_s = self.random.choice((0.002, 0.02, 0.15))
        self.sim = Simulation(
            self.shape.charter(self.genesis, witnesses),
            seed=self.seed,
            link=Link(min_latency_s=latency_s / 4, max_latency_s=latency_s, bytes_per_s=1e6, window_bytes=4096),
        )
        for number in range(WITNESS):
            self.sim.network.declare_rates(peer_identity(number).peer_id, *self.shape.rates(self.random))
        self.sim.write_s = lambda: self.random.uniform(0.0, 0.004)
        self.sim.may_give_up = True
        self.slow_trainers: dict[int, float] = {}
        self.at_frame: list[Trap] = []
        self.at_write: list[Trap] = []
        self.numbers = {peer_identity(number).peer_id: number for number in range(WITNESS + 1)}
        self.sim.network.on_send = lambda source, _target: self._count(self.at_frame, self.numbers[source])
        self.sim.on_write = lambda number: self._count(self.at_write, number)

    # --- one run ------------------------------------------------------------------------------------------------------

    async def run(self) -> Outcome:
        with self.shape.in_force():
            return await self._run()

    async def _run(self) -> Outcome:
        sim = self.sim
        self.note(str(self.shape))
        for number in range(self.genesis):
            await self.start(number)
        if self.has_witness:
            await self.start(WITNESS)
        deeds = [self.random.choice(self.deeds()) for _ in range(self.random.randint(2, 7))]
        deeds += [self.join_later(number) for number in self.newcomers]
        try:
            async with asyncio.timeout(FAULTS_END_S):
                await asyncio.gather(*(deed() for deed in deeds))
        except TimeoutError:
            pass  # the faults that did not happen in time do not happen
        await self.end_faults()
        began_s = asyncio.get_running_loop().time()
        live = [number for number in sim.peers if sim.is_alive(number) and number != WITNESS]
        target = max(self.last_round(number) for number in sim.peers) + MORE_ROUNDS
        self.note(f"faults are over; {live} must reach round {target}")
        try:
            async with asyncio.timeout(RECOVERY_LIMIT_S):
                await sim.until_round(target, *live)
                while not self.is_whole(target, live):  # noqa: ASYNC110 - virtual time
                    await asyncio.sleep(0.2)
        except TimeoutError:
            sim.check()
            stand = {number: sim.committed(number) for number in live}
            raise AssertionError(f"no progress to round {target} in {RECOVERY_LIMIT_S:.0f} s: {stand}") from None
        recovery_s = asyncio.get_running_loop().time() - began_s
        await sim.finish()
        sim.check()
        self.check_nothing_was_refused()
        return Outcome(self.faults, target, recovery_s)

    def check_nothing_was_refused(self) -> None:
        """Everybody here is honest: a frame that one of them may not send is a bug of its sender's."""
        refused = Counter(
            event.reason
            for peer in self.sim.peers.values()
            for event in peer.of(events.FrameRefused)
            if "no hello and request within" not in event.reason  # the streams of who was frozen or slow
        )
        assert not refused, f"honest peers refused each other's frames: {dict(refused)}"

    def note(self, text: str) -> None:
        text = f"{asyncio.get_running_loop().time():8.3f}  {text}"
        self.faults.append(text)
        self.say(text)

    async def start(self, number: int) -> None:
        if number == WITNESS:
            await self.sim.start_witness(number)
            return
        jurisdiction = JURISDICTIONS[number % self.shape.regions]
        peer = await self.sim.start(
            number,
            dialable=number not in self.undialable,
            jurisdiction=jurisdiction,
            training_s=lambda: self.random.uniform(0.3, 1.0) * self.slow_trainers.get(number, 1.0),
        )
        peer.show = lambda event: self.say(f"{asyncio.get_running_loop().time():8.3f}    {number} {event}")

    # --- faults -------------------------------------------------------------------------------------------------------

    def deeds(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            self.kill_at_frame,
            self.kill_at_frame,
            self.kill_at_write,
            self.kill_at_write,
            self.freeze,
            self.partition,
            self.slow_link,
            self.slow_trainer,
            self.kill_everybody,
        ]

    async def kill_at_frame(self) -> None:
        await self._kill_in(self.at_frame, "frame", self.random.choice((40, 400)))

    async def kill_at_write(self) -> None:
        await self._kill_in(self.at_write, "write", self.random.choice((10, 60)))

    async def _kill_in(self, traps: list[Trap], what: str, most: int) -> None:
        number, away_s, again = self.anyone(), self._duration_s(12.0), self.random.randint(1, 3)
        for _ in range(again):
            caught = asyncio.Event()
            left = self.random.randint(1, most)
            traps.append(
                Trap(number, left, lambda caught=caught, left=left: self._die(number, f"{what} {left}", caught))
            )
            await caught.wait()
            await asyncio.sleep(away_s)
            if not self.sim.is_alive(number):
                self.note(f"restart {number}")
                await self.start(number)

    async def kill_everybody(self) -> None:
        await asyncio.sleep(self._duration_s(20.0))
        numbers = [number for number in self.sim.peers if self.sim.is_alive(number)]
        self.note(f"kill everybody: {numbers}")
        for number in numbers:
            self.sim.kill(number)
        is_at_once = self.random.random() < 0.5
        self.random.shuffle(numbers)
        for number in numbers:
            await asyncio.sleep(0.0 if is_at_once else self._duration_s(3.0))
            if not self.sim.is_alive(number):
                self.note(f"restart {number}")
                await self.start(number)

    async def freeze(self) -> None:
        number = self.anyone()
        caught = asyncio.Event()
        self.at_frame.append(Trap(number, self.random.randint(1, 300), caught.set))
        await caught.wait()
        self.note(f"freeze {number}")
        self.sim.network.freeze(peer_identity(number).peer_id)
        await asyncio.sleep(self._duration_s(20.0))
        self.note(f"thaw {number}")
        self.sim.network.thaw(peer_identity(number).peer_id)

    async def partition(self) -> None:
        await asyncio.sleep(self._duration_s(15.0))
        side = {number for number in self.sim.peers if self.random.random() < 0.5}
        other = set(self.sim.peers) - side
        self.note(f"partition {sorted(side)} | {sorted(other)}")
        self.sim.network.partition(*([peer_identity(number).peer_id for number in part] for part in (side, other)))
        await asyncio.sleep(self._duration_s(15.0))
        self.note("heal")
        self.sim.network.heal()

    async def slow_link(self) -> None:
        number, factor = self.anyone(), self.random.choice((10.0, 100.0))
        await asyncio.sleep(self._duration_s(10.0))
        self.note(f"slow link of {number}, {factor:.0f} times")
        self.sim.network.slow(peer_identity(number).peer_id, factor)
        await asyncio.sleep(self._duration_s(15.0))
        self.sim.network.slow(peer_identity(number).peer_id, 1.0)

    async def slow_trainer(self) -> None:
        number = self.anyone()
        self.note(f"slow trainer of {number}")
        self.slow_trainers[number] = self.random.choice((5.0, 20.0))
        await asyncio.sleep(self._duration_s(30.0))
        self.slow_trainers.pop(number, None)

    def join_later(self, number: int) -> Callable[[], Awaitable[None]]:
        async def deed() -> None:
            await asyncio.sleep(self._duration_s(20.0))
            self.note(f"newcomer {number}")
            await self.start(number)

        return deed

    def anyone(self) -> int:
        numbers = [*range(self.genesis), *self.newcomers, *([WITNESS] if self.has_witness else [])]
        return self.random.choice(numbers)

    def _duration_s(self, most_s: float) -> float:
        return self.random.uniform(0.0, 1.0) ** 2 * most_s

    def _die(self, number: int, when: str, caught: asyncio.Event) -> None:
        if self.sim.is_alive(number):
            self.note(f"kill {number} at its {when}")
            self.sim.kill(number)
        caught.set()

    @staticmethod
    def _count(traps: list[Trap], number: int) -> None:
        for trap in [trap for trap in traps if trap.number == number]:
            trap.left -= 1
            if trap.left <= 0:
                traps.remove(trap)
                trap.spring()

    # --- the end ------------------------------------------------------------------------------------------------------

    async def end_faults(self) -> None:
        """Everything works again, but some of the dead may stay dead as long as every electorate keeps a quorum.

        From now on a peer that gives up is a failure.
        """
        sim = self.sim
        sim.may_give_up = False
        self.at_frame.clear()
        self.at_write.clear()
        self.slow_trainers.clear()
        sim.network.heal()
        for number in sim.peers:
            sim.network.thaw(peer_identity(number).peer_id)
            sim.network.slow(peer_identity(number).peer_id, 1.0)
        dead = [number for number in sim.peers if not sim.is_alive(number)]
        alive = {number for number in sim.peers if sim.is_alive(number)}
        if self.random.random() < 0.6:
            spare = [number for number in alive if self.random.random() < 0.3]
            for number in spare:
                if self._can_go_on(alive - {number}):
                    self.note(f"kill {number} for good")
                    sim.kill(number)
                    dead.append(number)
                    alive.discard(number)
            await asyncio.sleep(NOTICED_S)
        self.random.shuffle(dead)
        for number in dead:
            if not self._can_go_on(alive) or self.random.random() < 0.3:
                self.note(f"restart {number}")
                await self.start(number)
                alive.add(number)

    def _can_go_on(self, alive: set[int]) -> bool:
        """Whether each electorate that may be in force or come into force keeps a quorum and somebody to dial.

        Somebody that can be dialled must also hold the last round, and the bytes of whatever was voted for since: peers
        that cannot be dialled cannot give them to anybody.
        """
        ids = {peer_identity(number).peer_id for number in alive}
        givers = [self.sim.peers[number] for number in alive - self.undialable - {WITNESS}]
        latest = max(self.sim.peers, key=self.last_round)
        head = self.last_round(latest)
        electorates = [self._electorate_after(latest, head)]
        for peer in self.sim.peers.values():
            for state in peer.disk.promises:
                if state.round == head + 1 and state.accepted is not None:
                    value = wire.decode(state.accepted.value, Value)
                    roster = read_roster(value.roster, self.sim.run_info, value.base_digest)
                    electorates.append(Electorate.after(self.sim.run_info, roster))
                    if not any(value_digest(state.accepted.value) in giver.disk.results for giver in givers):
                        return False
        return all(
            electorate.has_quorum(ids) and electorate.peers & {giver.id for giver in givers}
            for electorate in electorates
        ) and any(self.last_round(giver.number) == head for giver in givers)

    def _electorate_after(self, number: int, head: int) -> Electorate:
        if head == 0:
            return Electorate.genesis(self.sim.run_info)
        found = self.sim.decided(number, head)
        return Electorate.after(self.sim.run_info, found.roster)

    def is_whole(self, since: int, live: Sequence[int]) -> bool:
        """Whether each live peer has been in the roster of a round after the faults: nobody is lost for ever."""
        ids = {peer_identity(number).peer_id for number in live}
        for number in range(since, max(self.last_round(peer) for peer in live) + 1):
            holder = next(peer for peer in live if self.sim.peers[peer].store.load_record(number) is not None)
            ids -= set(self.sim.decided(holder, number).roster.peers)
        return not ids

    def last_round(self, number: int) -> int:
        """The last round of which a machine's disk has the record."""
        store, last = self.sim.peers[number].store, 0
        while store.load_record(last + 1) is not None:
            last += 1
        return last


def play(seed: int, say: Callable[[str], None] = lambda text: None) -> Outcome:
    """Runs one schedule. Raises AssertionError with how to replay it if anything did not hold."""
    try:
        with memoised():
            return run_virtual(Schedule(seed, say).run())
    except Exception as error:
        raise AssertionError(f"seed {seed}: {error}\nreplay: {command(seed)}") from error


def command(seed: int) -> str:
    return f"PYTHONHASHSEED=0 python -m tests.chaos.schedules --seed {seed} -v"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=1, help="how many seeds to run")
    parser.add_argument("-v", "--verbose", action="store_true", help="show every fault and event")
    arguments = parser.parse_args()
    began_s, failed, slowest = time.monotonic(), list[int](), 0.0
    for done, seed in enumerate(range(arguments.seed, arguments.seed + arguments.count), 1):
        try:
            outcome = play(seed, print if arguments.verbose else lambda text: None)
            slowest = max(slowest, outcome.recovery_s)
        except AssertionError as error:
            failed.append(seed)
            print(f"\n{error}", flush=True)
            if arguments.count == 1:
                raise
        if done % 50 == 0 or done == arguments.count:
            took_s = time.monotonic() - began_s
            print(f"{done} seeds, {len(failed)} failed, {took_s:.0f} s, slowest recovery {slowest:.0f} s", flush=True)
    print(f"failed: {failed}" if failed else "none failed")
    return 1 if failed else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.chaos.schedules", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    raise SystemExit(main())
