"""The three-region pilot: a bootstrap node, a peer per member, one of them killed, a fresh one joining, the reckoning.

The pilot only starts processes, watches the events they write, kills one and reads the results: it takes no part in the
run and could be killed itself without changing what the peers agree on. Afterwards it trains each region alone for
comparison and scores everything on text that nobody trained on.
"""

import shutil
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec

from peers.corpus.regions import REGIONS
from peers.corpus.store import Corpus
from peers.demo.builders import require_libraries
from peers.demo.ground import Ground, PilotMember, lay_out
from peers.demo.members import Consortium
from peers.demo.own_text import KEPT
from peers.demo.privacy_evidence import masked_wire, peer_privacy
from peers.demo.privacy_report import sentences
from peers.demo.processes import Command, PeerCommand, PeerPapers, Workbench, start_bootstrap
from peers.demo.report import headline, write_report
from peers.demo.result import LanguageScore, PrivacyOfRun, Result, RoundRecord
from peers.demo.screen import Screen
from peers.demo.settings import Settings
from peers.demo.sovereign import build_all
from peers.demo.sovereign_report import own_sentences
from peers.demo.sovereign_result import Sovereign
from peers.demo.terms import terms_of
from peers.demo.together import Giver, Together
from peers.demo.watched import Watched, rounds_seen
from peers.demo.workbench import Score
from swarm import events
from swarm.charter.manifest import Reduce
from swarm.clock import pause_s, process_s
from swarm.errors import TapestryError, UsageError
from swarm.sovereignty.ledger import read_totals
from swarm.sovereignty.uses import Privacy
from swarm.vector.grid import Grid

KILLED_REGION = REGIONS[-1].name
_MARKER = ".tapestry-demo"
_POLL_S = 0.05
_QUIET_LIMIT_S = 180.0
_WORKBENCHES = 2


class PilotError(TapestryError):
    """The pilot could not be run to its end."""


class Pilot:
    """One run of the pilot; `run` returns the document of `demo --json`."""

    def __init__(self, settings: Settings, screen: Screen) -> None:
        self._settings = settings
        self._screen = screen
        self._terms = terms_of(settings.privacy)
        self._peers: list[Watched] = []
        self._bootstrap: Command | None = None
        self._benches = [Workbench()]
        """The first makes state 0 and waits; the others start when the swarm has ended and memory is free."""
        self._began_s = process_s()
        self._joined: Watched | None = None
        self._killed: Watched | None = None

    def run(self) -> dict[str, Any]:
        """Runs everything and writes the report.

        Raises:
            TapestryError: text could not be had, a process failed, or the survivors' bases differ.
        """
        settings = self._settings
        if settings.build:
            require_libraries()
        _clear(settings.out)
        ground = lay_out(settings, self._terms, self._screen.say)
        try:
            self._screen.say("making keys, passports, the charter and state 0")
            consortium = Consortium(settings, self._terms, ground.members)
            consortium.found(self._benches[0])
            self._train(consortium, ground.members)
            scores = self._score(consortium, ground)
        finally:
            self._stop_all()
        own = None
        if settings.build:
            own = build_all(settings, ground, consortium, self._peers, scores, self._screen.say)
        result = self._result(ground.corpus, scores, own)
        document = msgspec.to_builtins(result)
        shutil.copytree(self._survivor.command.state / "shared-base", settings.out / "shared-base")
        self._write_metrics()
        write_report(document, settings.out)
        for sentence in (headline(result), *sentences(result), *own_sentences(result)):
            self._screen.say(sentence)
        if len(set(result.base_digests.values())) != 1:
            raise PilotError(f"the surviving peers hold different bases: see {result.report}")
        return document

    # --- the run ------------------------------------------------------------------------------------------------------

    def _train(self, consortium: Consortium, members: tuple[PilotMember, ...]) -> None:
        settings, screen = self._settings, self._screen
        self._bootstrap, join = start_bootstrap(
            consortium.charter_path, consortium.bootstrap_key, settings.out / "bootstrap"
        )
        screen.say(f"bootstrap node and witness: {join}")
        screen.say(f"in this charter {self._terms.crossing}")
        for member in members:
            self._start(consortium.papers(member), join)
        quiet_since_s = process_s()
        while any(peer.command.is_running for peer in self._peers):
            if self._watch():
                quiet_since_s = process_s()
            if process_s() - quiet_since_s > _QUIET_LIMIT_S:
                raise PilotError(f"nothing has happened for {_QUIET_LIMIT_S:.0f} s; the logs are in {settings.peers}")
            self._fail_if_any_failed()
            front = max(peer.round for peer in self._peers)
            if settings.kills and self._killed is None and front >= settings.kill_after_round:
                self._kill(next(peer for peer in self._peers if peer.command.papers.region == KILLED_REGION))
            if self._killed is not None and self._joined is None and front >= settings.join_after_round:
                member = next(m for m in members if m.name == self._killed.command.papers.member)
                self._joined = self._start(consortium.papers(member, fresh=True), join)
                screen.say(f"a fresh peer joins {member.name} with its folder, its passport and the bootstrap address")
            pause_s(_POLL_S)
        self._watch()
        self._fail_if_any_failed()

    def _start(self, papers: PeerPapers, join: str) -> Watched:
        state = self._settings.peers / papers.peer_id
        state.mkdir(parents=True)
        seed = self._settings.seed + len(self._peers)
        kept = ("--archive",) if self._settings.build else ()  # so that own models' lineage can be replayed whole
        watched = Watched(PeerCommand(papers, join, state, self._settings.rounds, seed, kept), seed)
        self._peers.append(watched)
        self._screen.add(watched.id, papers.region)
        return watched

    def _kill(self, peer: Watched) -> None:
        peer.command.kill()
        peer.is_killed = True
        self._killed = peer
        self._screen.mark(peer.id, "killed")
        self._screen.say(f"round {peer.round}: SIGKILL to the peer of {peer.command.papers.region}; the others go on")

    def _watch(self) -> bool:
        """Takes new events; whether there were any."""
        happened = False
        for peer in self._peers:
            new = [] if peer.is_killed else peer.command.new_events()
            for stamped in new:
                peer.seen.append(stamped)
                self._screen.take(peer.id, stamped.event)
                self._tell(peer, stamped.event)
            happened = happened or bool(new)
        return happened

    def _tell(self, peer: Watched, event: events.AnyEvent) -> None:
        region = peer.command.papers.region
        match event:
            case events.TrainerReady():
                self._screen.say(f"{region}: trainer isolation is {event.isolation}")
            case events.UpdateDenied():
                self._screen.say(f"{region}: the gate kept an update here: {event.reason}")
            case events.PrivacyBudgetSpent():
                self._screen.say(
                    f"{region}: the privacy budget is spent (epsilon {event.epsilon:.3f} of {event.budget:g}): "
                    "this peer trains no more"
                )
            case events.SecureSumEnded():
                self._screen.say(f"{region}: round {event.round}: a masked sum came to nothing ({event.code})")
            case events.QuorumMissing():
                self._screen.say(f"{region}: {event.present:.3g} of {event.electors} voices are here: no quorum")
            case events.StateReady() if peer is self._joined:
                self._screen.say(f"{region}: the fresh peer verified the Shared Base of round {event.round}")
            case _:
                pass

    def _fail_if_any_failed(self) -> None:
        for peer in self._peers:
            if not peer.is_killed and not peer.command.is_running:
                try:
                    peer.command.result()
                except TapestryError as error:
                    raise PilotError(f"the peer of {peer.command.papers.region} stopped: {error}") from None

    # --- the reckoning ------------------------------------------------------------------------------------------------

    def _score(self, consortium: Consortium, ground: Ground) -> dict[str, LanguageScore]:
        regions = ground.regions
        held_out = {language: str(path) for language, path in ground.corpus.held_out.items()}
        state0, charter = str(consortium.state0_path), str(consortium.charter_path)
        jobs: dict[str, Score | Together] = {
            f"alone/{region.name}": Score(
                charter=charter,
                base=state0,
                files=tuple(map(str, ground.files_of(region.name))),
                steps=self._own_steps(region.name),
                seed=self._settings.seed + number,
                held_out=held_out,
            )
            for number, region in enumerate(regions)
        }
        jobs["untrained"] = Score(charter=charter, base=state0, held_out=held_out)
        jobs["shared"] = Score(
            charter=charter, base=str(self._survivor.command.state / "shared-base"), held_out=held_out
        )
        if self._settings.privacy is not None:
            jobs["clear"] = self._in_the_clear(state0, charter, held_out)
        self._screen.say("training each region alone for comparison, and scoring on held-out text")
        found = self._run_jobs(jobs)
        return {
            language: LanguageScore(
                untrained=found["untrained"][language],
                shared=found["shared"][language],
                alone={region.name: found[f"alone/{region.name}"][language] for region in regions},
                clear=found["clear"][language] if "clear" in found else None,
            )
            for language in sorted(held_out)
        }

    def _in_the_clear(self, state0: str, charter: str, held_out: dict[str, str]) -> Together:
        """The rounds of this run once more, without the tier."""
        givers = {
            peer.id: Giver(files=tuple(map(str, sorted(peer.command.papers.data.glob("*.txt")))), seed=peer.seed)
            for peer in self._peers
        }
        rounds = {
            str(record.round): record.contributors for record in rounds_seen(self._survivors) if record.contributors
        }
        return Together(charter=charter, base=state0, givers=givers, rounds=rounds, held_out=held_out)

    def _length(self, job: Score | Together) -> int:
        """Inner steps."""
        return job.steps if isinstance(job, Score) else self._settings.inner_steps * sum(map(len, job.rounds.values()))

    def _run_jobs(self, jobs: dict[str, Score | Together]) -> dict[str, dict[str, float]]:
        """Every job's scores; two workers take the longest jobs first."""
        waiting = sorted(jobs, key=lambda name: self._length(jobs[name]))
        busy: dict[str, Workbench] = {}
        found: dict[str, dict[str, float]] = {}
        self._benches += [Workbench() for _ in range(_WORKBENCHES - len(self._benches))]
        idle = list(self._benches)
        while waiting or busy:
            while waiting and idle:
                name, worker = waiting.pop(), idle.pop()
                worker.give(jobs[name])
                busy[name] = worker
            for name, worker in list(busy.items()):
                scores = worker.answer(dict[str, float])
                if scores is not None:
                    found[name] = scores
                    idle.append(busy.pop(name))
                    self._screen.say(f"scored {name}: {sum(scores.values()) / len(scores):.3f} bits per byte")
            pause_s(_POLL_S)
        return found

    @property
    def _survivors(self) -> list[Watched]:
        return [peer for peer in self._peers if not peer.is_killed]

    @property
    def _survivor(self) -> Watched:
        return self._survivors[0]

    def _own_steps(self, region: str) -> int:
        """Inner steps this region's peers made for rounds, dropped ones included."""
        return sum(
            event.steps
            for peer in self._peers
            if peer.command.papers.region == region
            for event in peer.of(events.UpdateReady)
        )

    def _result(self, corpus: Corpus, scores: dict[str, LanguageScore], own: Sovereign | None) -> Result:
        survivors = self._survivors
        rounds = rounds_seen(survivors)
        return Result(
            rounds_committed=max(peer.round for peer in survivors),
            base_digests={peer.id: peer.digest for peer in survivors},
            corpus=corpus.source,
            bits_per_byte=scores,
            bytes_sent={peer.id: read_totals(peer.command.state / "ledger.jsonl") for peer in self._peers},
            report=str(self._settings.out / "report.html"),
            seconds=process_s() - self._began_s,
            regions={peer.id: peer.command.papers.region for peer in self._peers},
            notes=self._notes(corpus, rounds),
            privacy=self._privacy(rounds),
            killed=self._killed.id if self._killed else None,
            joined=self._joined.id if self._joined else None,
            settings={
                "rounds": self._settings.rounds,
                "inner_steps": self._settings.inner_steps,
                "batch": self._terms.batch_size,
                "sequence_bytes": self._terms.sequence_bytes,
                "inner_lr": self._terms.inner_lr,
                "privacy": self._terms.privacy.value,
                "seed": self._settings.seed,
                "codec": "int8",
                "mode": "diloco",
                "parameters": self._parameters(),
            },
            loss={
                peer.id: tuple(
                    (event.round, event.loss) for event in peer.of(events.UpdateReady) if isfinite(event.loss)
                )
                for peer in self._peers
            },
            rounds=rounds,
            sovereign=own,
        )

    def _privacy(self, rounds: tuple[RoundRecord, ...]) -> PrivacyOfRun:
        masked = None
        if self._terms.privacy is Privacy.SECAGG:
            masked = masked_wire(
                {peer.id: peer.command.state / "ledger.jsonl" for peer in self._peers},
                {peer.id: peer.command.papers.region for peer in self._peers},
                Grid(self._parameters(), Reduce().chunk_elements),
                rounds,
                [event for peer in self._peers for event in peer.of(events.SecureSumEnded)],
            )
        return PrivacyOfRun(
            tier=self._terms.privacy.value,
            peers={
                peer.id: peer_privacy(peer.command.papers.member, (stamped.event for stamped in peer.seen))
                for peer in self._peers
            },
            masked=masked,
        )

    def _parameters(self) -> int:
        return next(event.parameters for peer in self._peers for event in peer.of(events.CharterReady))

    def _notes(self, corpus: Corpus, rounds: tuple[RoundRecord, ...]) -> tuple[str, ...]:
        notes = [f"In this run {self._terms.crossing}."]
        if not self._settings.kills:
            notes.append("With fewer than five rounds nobody is killed and nobody joins.")
        if self._settings.build:
            notes.append(
                f"One line in {KEPT} of every language, the last ones, plays the text that a member keeps for its own "
                "model: no peer of the shared rounds, and no region alone, has seen it."
            )
        if self._joined is not None:
            first = [record.round for record in rounds if self._joined.id in record.contributors]
            notes.append(
                f"The fresh peer contributed from round {first[0]} on."
                if first
                else "The fresh peer verified the Shared Base but came too late to contribute."
            )
        isolation = {event.isolation for peer in self._peers for event in peer.of(events.TrainerReady)}
        notes.append(f"Trainer isolation reached: {', '.join(sorted(isolation))}.")
        return (*notes, *corpus.notes)

    # --- after --------------------------------------------------------------------------------------------------------

    def _write_metrics(self) -> None:
        """Every peer's events in one file, in order of time: {"at", "peer", "event"} per line."""
        lines = [(stamped.at, peer.id, stamped) for peer in self._peers for stamped in peer.seen]
        lines.sort(key=lambda line: line[:2])
        with (self._settings.out / "metrics.jsonl").open("wb") as file:
            for at, peer, stamped in lines:
                file.write(msgspec.json.encode({"at": at, "peer": peer, "event": stamped.event}) + b"\n")

    def _stop_all(self) -> None:
        commands: list[Command] = [*(peer.command for peer in self._peers), *self._benches]
        if self._bootstrap is not None:
            commands.append(self._bootstrap)
        for command in commands:
            command.ask_to_stop()
        for command in commands:
            command.stop()


def _clear(out: Path) -> None:
    """An empty folder for this run; only what an earlier run of the pilot left may be removed."""
    if out.exists() and any(out.iterdir()):
        if not (out / _MARKER).exists():
            raise UsageError(f"{out} is not empty and holds no earlier report: choose another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARKER).touch()
