"""One soak, from the first start to the verdict: calm, churn with one majority's death in its middle, settling."""

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from swarm.node.presence import ANNOUNCEMENT_LIFETIME_S
from tests.soak.attribution import Attribution
from tests.soak.crew import Crew
from tests.soak.goodput import Goodput, goodput, longest_gap_s, overlap_s
from tests.soak.growth import beyond, usage
from tests.soak.outcome import DESCRIPTORS, KEPT, MEMORY, RECORDS, Outcome, Plan, growth
from tests.soak.papers import Papers
from tests.soak.schedule import PARTS, Join, Kill, Stand, crowded, decide, majority, pause_s
from tests.soak.watch import Watch

ELDERS = 2
PROGRESS_S = 30.0
"""The longest time without a new round."""
GATHER_S = 120.0
"""For all to get into one round at the start, with every daemon coming up at once."""
SETTLE_S = 60.0
"""For all to get into one round after the churn."""
LAST_VOTES_S = 5.0
"""A round whose votes were cast before a majority died may still be committed."""
OUTAGE_S = 10.0
"""How long nobody may commit while the majority is dead."""
DEATH_S = 30.0
SAMPLE_EVERY_S = 5.0
RECORD_LIFE_S = ANNOUNCEMENT_LIFETIME_S + 15.0
"""How long after its last announcement a peer's records may still be counted by who keeps them."""
RECORDS_PER_PEER = 2
"""One stored, and one in the cache."""
TICK_S = 0.2
STALL_S = 2.0
"""From one tick to the next, beyond what was asked: the machine or its disk stood still, for everybody."""
MIB = 2**20


class SoakError(AssertionError):
    """Something that must hold did not."""


class Soak:
    """A crew of real peers, what they say, and the random stream that says what happens to them."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._draw = random.Random(plan.seed)
        genesis = [_name(number) for number in range(plan.nodes)]
        self._elders = frozenset(genesis[:ELDERS])
        self._papers = Papers(folder / "papers", genesis)
        self._crew = Crew(folder, self._papers, self._draw)
        self._attribution: Attribution | None = None
        if plan.attribute:
            self._crew.traced = self._elders
            self._attribution = Attribution({name: self._crew.folder / name for name in sorted(self._elders)})
        self._watch = Watch(folder / "peers")
        self._joins = self._returns = 0
        self._kills: Counter[str] = Counter()
        self._samples: dict[tuple[str, str], list[tuple[float, float]]] = {}
        self._sampled_s = self._progress = 0.0
        self._ticked = time.time()
        self._stalls: list[tuple[float, float]] = []
        """Unix seconds from and to."""
        self._front = 0
        self._seen: dict[str, float] = {}
        """By peer: when it was last alive, in Unix seconds."""
        self._due: list[tuple[float, float]] = []
        """How many directory records somebody may keep, over time."""

    def run(self) -> Outcome:
        """Raises AssertionError with what did not hold."""
        try:
            self._crew.open()
            self._ticked = time.time()
            for name in sorted(self._papers.names.values()):
                self._crew.start(name)
            self._until_together(GATHER_S)
            calm = self._calm()
            churn, longest_s, majority_died = self._churn()
            settled_s = self._until_together(SETTLE_S)
            self._mark()
            for name in sorted(self._elders):
                kept = [(at, float(records)) for at, records in self._watch.records.get(name, ())]
                self._samples[name, KEPT] = kept
                self._samples[name, RECORDS] = beyond(kept, self._due)
            return Outcome(
                calm=calm,
                churn=churn,
                majority=majority_died,
                joins=self._joins,
                returns=self._returns,
                kills=self._kills,
                longest_gap_s=longest_s,
                settled_s=settled_s,
                stalled_s=sum(end - begin for begin, end in self._stalls),
                growth=growth(self._samples, self._plan),
                aborts=self._watch.aborts,
                refusals=self._watch.refusals,
                attributed=[] if self._attribution is None else self._attribution.report(),
            )
        finally:
            self._crew.close()

    # --- phases -------------------------------------------------------------------------------------------------------

    def _calm(self) -> Goodput:
        began = time.time()
        self._tick_for(self._plan.calm_s)
        return goodput(self._watch, self._papers.names, began, time.time())

    def _churn(self) -> tuple[Goodput, float, str]:
        """Goodput of the whole churn, the outage included; the longest gap outside the outage; how the outage went."""
        began, total_s = time.time(), 60 * self._plan.minutes
        warm_up_s = self._plan.warm_up_s
        self._happen_for(warm_up_s)
        self._mark()
        self._happen_for(total_s / 2 - warm_up_s)
        outage_began = time.time()
        majority_died = self._lose_majority()
        outage_ended = time.time()
        self._happen_for(began + total_s - time.time())
        ended = time.time()
        longest_s = max(
            longest_gap_s(self._watch.commits, self._stalls, from_, to)
            for from_, to in ((began, outage_began), (outage_ended, ended))
        )
        return goodput(self._watch, self._papers.names, began, ended), longest_s, majority_died

    def _happen_for(self, seconds: float) -> None:
        """A join or a kill every random while."""
        until_s = time.monotonic() + seconds
        self._progress = time.time()
        said_s = time.monotonic()
        while time.monotonic() < until_s:
            self._tick_for(pause_s(self._draw))
            match decide(self._draw, self._stand()):
                case Join(name):
                    self._join(name)
                case Kill(name, part):
                    self._crew.kill(name, part)
                    self._kills[part or "whole peer"] += 1
                case None:
                    pass
            if self._undisturbed_s(self._progress) > PROGRESS_S:
                raise SoakError(f"no new round within {PROGRESS_S:.0f} s after round {self._front}: {self._stand()}")
            if time.monotonic() - said_s > 30.0:
                said_s = time.monotonic()
                self._say()

    def _lose_majority(self) -> str:
        """Kills a majority for good just after a commit, sees that nobody commits without it, has the run restarted."""
        doomed = self._until_majority_can_die()
        for name in doomed:
            self._crew.kill(name)
            self._kills["in the majority"] += 1
        electors = len(self._watch.commits[self._watch.front].peers) + 1
        died_s = time.monotonic()
        self._tick_for(LAST_VOTES_S)
        last = self._watch.front
        self._tick_for(OUTAGE_S)
        if self._watch.front > last:
            raise SoakError(f"round {self._watch.front} was committed while {len(doomed)} of {electors} were dead")
        self._until(lambda: self._crew.dead >= set(doomed), DEATH_S, "the end of those killed")
        self._crew.forget(doomed)
        restarted_s = time.monotonic()
        self._founders_restart()
        self._until_round_after(last, f"a round after {last}, the founders having restarted the run")
        now_s = time.monotonic()
        return (
            f"{len(doomed)} of {electors} voters died for good after round {last}; no round for "
            f"{restarted_s - died_s:.0f} s; the next {now_s - restarted_s:.1f} s after the founders' restart"
        )

    def _founders_restart(self) -> None:
        """What founders would do: survivors vote from the last record that any of them has; the others hear of it.

        The elders are told by those that are started again with the document: a newcomer, if nobody else survived.
        """
        survivors = sorted(self._watch.ready & set(self._crew.pids))
        furthest = max(survivors, key=lambda name: self._watch.last.get(name, 0))
        document = self._papers.restart(self._crew.folder / furthest, survivors)
        for name in set(survivors) - self._elders:
            self._crew.kill(name)
            self._kills["to be restarted"] += 1
            self._until(lambda name=name: name in self._crew.dead, DEATH_S, f"the end of {name}")
            self._crew.start(name, document)
            self._returns += 1
        if set(survivors) == self._elders:
            self._join(None, document)

    def _until_majority_can_die(self) -> list[str]:
        """Lets the swarm fill up, undisturbed, until a commit after which a majority can die without an elder; whom."""
        for _ in range(self._plan.nodes - len(self._crew.alive)):
            self._join(None)
        began = time.time()
        while self._undisturbed_s(began) < GATHER_S:
            self._until_round_after(self._watch.front, "a commit before a majority dies")
            stand = self._stand()
            if stand.electors != stand.alive:
                continue  # votes cast before may still commit the next round, whose roster votes after it
            doomed = majority(self._draw, stand)
            if doomed is not None:
                return doomed
            self._exchange(stand)
        raise SoakError(
            f"not within {GATHER_S:.0f} s: a roster of everybody whose majority is not the elders: {self._stand()}"
        )

    def _exchange(self, stand: Stand) -> None:
        """The elders and the witness are a majority, since too few members are there: somebody of another one comes."""
        victim = crowded(stand)
        if victim is not None:
            self._crew.kill(victim)
            self._kills["to make room"] += 1
            self._join(None)

    def _until_together(self, limit_s: float) -> float:
        """Waits for a round that every living peer commits from now on; how long it took."""
        since, began_s = self._watch.front, time.monotonic()
        # Somebody may be just starting; nobody else comes or goes.
        everybody = self._crew.alive
        self._until(
            lambda: all(self._watch.last.get(name, 0) > since for name in everybody),
            limit_s,
            f"a round after {since} of all {len(everybody)} peers: {sorted(everybody)}",
        )
        return time.monotonic() - began_s

    # --- steps --------------------------------------------------------------------------------------------------------

    def _join(self, name: str | None, restart: Path | None = None) -> None:
        if name is None:
            name = _name(len(self._papers.names))
            self._papers.admit(name)
            self._joins += 1
        else:
            self._returns += 1
        self._watch.ready.discard(name)
        self._crew.start(name, restart)

    def _stand(self) -> Stand:
        last, names = self._watch.commits[self._watch.front], self._papers.names
        return Stand(
            alive=set(self._crew.pids),
            dead=self._crew.dead,
            elders=self._elders,
            electors={names[peer] for peer in last.peers},
            ready=self._watch.ready & set(self._crew.pids),
            members=self._papers.member_of,
            most=self._plan.nodes,
        )

    def _tick_for(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self._tick(min(TICK_S, left_s))

    def _undisturbed_s(self, since: float) -> float:
        """Seconds since an instant in which the machine ran."""
        now = time.time()
        return now - since - overlap_s(self._stalls, since, now)

    def _until_round_after(self, number: int, what: str) -> None:
        self._until(lambda: self._watch.front > number, PROGRESS_S, what)

    def _until(self, is_there: Callable[[], bool], limit_s: float, what: str) -> None:
        began = time.time()
        while not is_there():
            if self._undisturbed_s(began) > limit_s:
                raise SoakError(f"not within {limit_s:.0f} s: {what}")
            self._tick(TICK_S)

    def _tick(self, wait_s: float) -> None:
        self._crew.listen(wait_s)
        time.sleep(wait_s)
        self._watch.look()
        now = time.time()
        if now - self._ticked > 2 * wait_s + STALL_S:
            self._stalls.append((self._ticked, now))
        self._ticked = now
        self._seen |= dict.fromkeys(self._crew.alive, now)
        lately = sum(at > now - RECORD_LIFE_S for at in self._seen.values())
        self._due.append((now, float(RECORDS_PER_PEER * lately)))
        now_s = time.monotonic()
        if self._watch.front > self._front:
            self._front, self._progress = self._watch.front, time.time()
        if now_s - self._sampled_s >= SAMPLE_EVERY_S:
            self._sampled_s = now_s
            self._sample(time.time())

    def _sample(self, at: float) -> None:
        """What the elders' processes use, and the bootstrap node's."""
        for name in sorted(self._elders):
            for part in PARTS:
                pid = self._crew.process(name, part)
                if pid is not None:
                    self._add(f"{name} {part}", pid, at)
        if self._crew.bootstrap.running is not None:
            self._add("bootstrap", self._crew.bootstrap.running.pid, at)

    def _mark(self) -> None:
        """Has the elders' nodes write down what they hold, if that was asked for."""
        if self._attribution is not None:
            pids = (self._crew.process(name, "node") for name in self._elders)
            self._attribution.mark(pid for pid in pids if pid is not None)

    def _add(self, whose: str, pid: int, at: float) -> None:
        used = usage(pid)
        if used is not None:
            self._samples.setdefault((whose, MEMORY), []).append((at, used.memory_bytes / MIB))
            self._samples.setdefault((whose, DESCRIPTORS), []).append((at, float(used.descriptors)))

    def _say(self) -> None:
        kills, alive = sum(self._kills.values()), len(self._crew.pids)
        print(f"round {self._front}: {alive} alive, {self._joins} new, {self._returns} back, {kills} kills", flush=True)


def _name(number: int) -> str:
    return f"p{number:03d}"
