"""The three-region pilot: one bootstrap node, three peers, one of them killed, a fresh one joining, and the reckoning.

The pilot only starts processes, watches the events they write, kills one and reads the results: it takes no part in the
run and could be killed itself without changing what the peers agree on. Afterwards it trains each region alone for
comparison and scores everything on text that nobody trained on.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from peers.corpus.corpus import default_cache, prepare
from peers.corpus.folder import read_folder
from peers.corpus.regions import COMMONS, REGIONS, PilotRegion, write_region_folder
from peers.corpus.store import Corpus
from peers.demo.members import Consortium
from peers.demo.processes import Command, PeerCommand, PeerPapers, Workbench, start_bootstrap
from peers.demo.report import headline, write_report
from peers.demo.result import LanguageScore, Result, RoundRecord
from peers.demo.screen import Screen
from peers.demo.settings import Settings
from peers.demo.workbench import Score
from swarm import events
from swarm.clock import pause_s, process_s
from swarm.errors import TapestryError, UsageError
from swarm.sovereignty.lattice import Restrictions, join_all, restrictions_of
from swarm.sovereignty.ledger import read_totals
from swarm.sovereignty.policy import DpRules, files_for, find_policy, label_folder, read_policy
from swarm.sovereignty.uses import Use

KILLED_REGION = REGIONS[-1].name
_MARKER = ".tapestry-demo"
_POLL_S = 0.05
_QUIET_LIMIT_S = 180.0
_WORKBENCHES = 2


class PilotError(TapestryError):
    """The pilot could not be run to its end."""


@dataclass
class Watched:
    """One peer and what its events said."""

    command: PeerCommand
    seen: list[events.Stamped] = field(default_factory=list)
    is_killed: bool = False

    @property
    def id(self) -> str:
        return self.command.papers.peer_id

    def of(self, kind: type[Any]) -> list[Any]:
        return [stamped.event for stamped in self.seen if isinstance(stamped.event, kind)]

    @property
    def round(self) -> int:
        """The last round this peer saw committed."""
        return max((event.round for event in self.of(events.RoundCommitted)), default=0)


class Pilot:
    """One run of the pilot; `run` returns the document of `demo --json`."""

    def __init__(self, settings: Settings, screen: Screen) -> None:
        self._settings = settings
        self._screen = screen
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
        _clear(settings.out)
        corpus, regions, bound = self._text()
        folders = {region.name: settings.out / "data" / region.name for region in regions}
        for region in regions:
            write_region_folder(corpus, region, folders[region.name], *bound[region.name])
        try:
            self._screen.say("making keys, passports, the charter and state 0")
            consortium = Consortium(settings, regions)
            consortium.found(self._benches[0])
            self._train(consortium, regions, folders)
            scores = self._score(consortium, corpus, regions, folders)
        finally:
            self._stop_all()
        result = self._result(corpus, scores)
        document = msgspec.to_builtins(result)
        shutil.copytree(self._survivor.command.state / "shared-base", settings.out / "shared-base")
        self._write_metrics()
        write_report(document, settings.out)
        self._screen.say(headline(result))
        if len(set(result.base_digests.values())) != 1:
            raise PilotError(f"the surviving peers hold different bases: see {result.report}")
        return document

    # --- before -------------------------------------------------------------------------------------------------------

    def _text(self) -> tuple[Corpus, tuple[PilotRegion, ...], dict[str, tuple[Restrictions, DpRules | None]]]:
        """What is trained on, where, and what binds each region's text: never less than the text it is made from."""
        if self._settings.data is None:
            corpus = prepare(default_cache(), self._screen.say)
            return corpus, REGIONS, {region.name: (COMMONS, None) for region in REGIONS}
        bound: dict[str, tuple[Restrictions, DpRules | None]] = {}
        for region in REGIONS:
            home = self._settings.data / region.name
            policy = read_policy(find_policy(home, None))
            files = label_folder(home, policy)
            for use in (Use.SHARED_BASE, Use.EVALUATION):  # the pilot trains on some of it and scores with the rest
                files_for(files, use, all_of_them=True)
            of_all = join_all(restrictions_of(file.dataset, policy.isolation) for file in files)
            bound[region.name] = of_all, policy.dp
        text = read_folder(self._settings.data, self._settings.out / "text")
        return text.corpus, text.regions, bound

    # --- the run ------------------------------------------------------------------------------------------------------

    def _train(self, consortium: Consortium, regions: tuple[PilotRegion, ...], folders: dict[str, Path]) -> None:
        settings, screen = self._settings, self._screen
        self._bootstrap, join = start_bootstrap(
            consortium.charter_path, consortium.bootstrap_key, settings.out / "bootstrap"
        )
        screen.say(f"bootstrap node and witness: {join}")
        screen.say("min_contributors = 1 in this charter: single updates cross borders")
        for number, region in enumerate(regions):
            self._start(consortium.papers(region, folders[region.name]), join, settings.seed + number)
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
                region = next(region for region in regions if region.name == KILLED_REGION)
                papers = consortium.papers(region, folders[region.name], fresh=True)
                self._joined = self._start(papers, join, settings.seed + len(regions))
                screen.say(f"a fresh peer joins {region.name} with its folder, its passport and the bootstrap address")
            pause_s(_POLL_S)
        self._watch()
        self._fail_if_any_failed()

    def _start(self, papers: PeerPapers, join: str, seed: int) -> Watched:
        state = self._settings.peers / papers.peer_id
        state.mkdir(parents=True)
        watched = Watched(PeerCommand(papers, join, state, self._settings.rounds, seed))
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

    def _score(
        self,
        consortium: Consortium,
        corpus: Corpus,
        regions: tuple[PilotRegion, ...],
        folders: dict[str, Path],
    ) -> dict[str, LanguageScore]:
        held_out = {language: str(path) for language, path in corpus.held_out.items()}
        state0, charter = str(consortium.state0_path), str(consortium.charter_path)
        jobs = {
            f"alone/{region.name}": Score(
                charter=charter,
                base=state0,
                files=tuple(str(folders[region.name] / f"{language}.txt") for language in region.jurisdictions),
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
        self._screen.say("training each region alone for comparison, and scoring on held-out text")
        found = self._run_jobs(jobs)
        return {
            language: LanguageScore(
                untrained=found["untrained"][language],
                shared=found["shared"][language],
                alone={region.name: found[f"alone/{region.name}"][language] for region in regions},
            )
            for language in sorted(held_out)
        }

    def _run_jobs(self, jobs: dict[str, Score]) -> dict[str, dict[str, float]]:
        """Every job's scores; two workers take the longest jobs first."""
        waiting = sorted(jobs, key=lambda name: jobs[name].steps)
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
    def _survivor(self) -> Watched:
        return next(peer for peer in self._peers if not peer.is_killed)

    def _own_steps(self, region: str) -> int:
        """Inner steps this region's peers made for rounds, dropped ones included."""
        return sum(
            event.steps
            for peer in self._peers
            if peer.command.papers.region == region
            for event in peer.of(events.UpdateReady)
        )

    def _result(self, corpus: Corpus, scores: dict[str, LanguageScore]) -> Result:
        survivors = [peer for peer in self._peers if not peer.is_killed]
        rounds = self._rounds(survivors)
        return Result(
            rounds_committed=max(peer.round for peer in survivors),
            base_digests={peer.id: self._digest(peer) for peer in survivors},
            corpus=corpus.source,
            bits_per_byte=scores,
            bytes_sent={peer.id: read_totals(peer.command.state / "ledger.jsonl") for peer in self._peers},
            report=str(self._settings.out / "report.html"),
            seconds=process_s() - self._began_s,
            regions={peer.id: peer.command.papers.region for peer in self._peers},
            notes=self._notes(corpus, rounds),
            killed=self._killed.id if self._killed else None,
            joined=self._joined.id if self._joined else None,
            settings={
                "rounds": self._settings.rounds,
                "inner_steps": self._settings.inner_steps,
                "seed": self._settings.seed,
                "codec": "int8",
                "mode": "diloco",
                "parameters": self._parameters(),
            },
            loss={
                peer.id: tuple((event.round, event.loss) for event in peer.of(events.UpdateReady))
                for peer in self._peers
            },
            rounds=rounds,
        )

    def _parameters(self) -> int:
        return next(event.parameters for peer in self._peers for event in peer.of(events.CharterReady))

    @staticmethod
    def _digest(peer: Watched) -> str:
        committed = peer.of(events.RoundCommitted)
        return committed[-1].state_digest if committed else peer.of(events.StateReady)[-1].digest

    @staticmethod
    def _rounds(survivors: list[Watched]) -> tuple[RoundRecord, ...]:
        """Each round as the first survivor that saw it committed timed it."""
        records: dict[int, RoundRecord] = {}
        for peer in survivors:
            forming = {(event.round, event.attempt): event.form_s for event in peer.of(events.RosterReady)}
            reducing = {(event.round, event.attempt): event.reduce_s for event in peer.of(events.Reduced)}
            for event in peer.of(events.RoundCommitted):
                records.setdefault(
                    event.round,
                    RoundRecord(
                        round=event.round,
                        attempt=event.attempt,
                        contributors=event.contributors,
                        peers=event.peers,
                        seconds=event.seconds,
                        form_s=forming.get((event.round, event.attempt), 0.0),
                        reduce_s=reducing.get((event.round, event.attempt), 0.0),
                        state_digest=event.state_digest,
                    ),
                )
        return tuple(records[number] for number in sorted(records))

    def _notes(self, corpus: Corpus, rounds: tuple[RoundRecord, ...]) -> tuple[str, ...]:
        notes = ["min_contributors = 1: single updates crossed borders in this run."]
        if not self._settings.kills:
            notes.append("With fewer than five rounds nobody is killed and nobody joins.")
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
