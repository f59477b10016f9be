"""What the member's policy lets a build be made from, and what it is scored on. Decides; reads no data.

A stage names data sets of the policy. In this order: each has a label, its `uses` name `sovereign-build`, it may be
used where the machine stands. The same holds of all that the stages before were trained on, by the policy as it is now:
so there is a place where all of them may be used together. The first rule that is broken is the reason code of the
refusal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peers.build.decisions import note
from peers.build.jobs import DataFile
from peers.build.record import BuildRecord, Stage, StageName
from peers.ecosystem.rows import ROW_SUFFIXES
from swarm.errors import DataError, PolicyError, UnlabelledDataError
from swarm.sovereignty.decisions import Decision
from swarm.sovereignty.lattice import Labelled, restrictions_of
from swarm.sovereignty.policy import Dataset, LabelledFile, Policy, label_folder, read_policy
from swarm.sovereignty.reasons import Reason
from swarm.sovereignty.uses import Privacy, Use

SUBJECT = "build"
"""What the decisions are about, where the gate's are about updates."""


@dataclass(frozen=True)
class Ground:
    """The data folder under its policy."""

    folder: Path
    policy: Policy
    labelled: tuple[LabelledFile, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted({file.dataset.name for file in self.labelled}))


def read_ground(folder: Path, policy: Path) -> Ground:
    """Reads the policy and labels every file. Raises UsageError, PolicyError, UnlabelledDataError or DataError."""
    rules = read_policy(policy)
    return Ground(folder, rules, label_folder(folder, rules))


def decide(ground: Ground, names: Sequence[str], record: BuildRecord) -> Decision:
    """Whether the policy lets a stage be trained on these data sets, and whatever the stages before were trained on
    be gone on with: by the policy as it is now, not as it was when they were trained.
    """

    def denied(code: Reason, reason: str) -> Decision:
        return Decision("denied", SUBJECT, record.base.round, code, ground.policy.digest, reason=reason)

    asked = {file.dataset.name: file.dataset for file in ground.labelled}
    in_force = {dataset.name: dataset for dataset in ground.policy.datasets}
    for name in names:
        dataset = asked.get(name)
        if dataset is None:
            known = ", ".join(ground.names)
            return denied(Reason.UNLABELLED, f"{name!r} is no data set of {ground.policy.origin}, which has: {known}")
        if broken := _broken_rule(dataset, name, ground, record):
            return denied(*broken)
    for stage, name in _trained_on(record):
        dataset = in_force.get(name)
        said = f"{name}, which stage {stage.n}-{stage.name} was trained on,"
        if dataset is None:
            return denied(Reason.UNLABELLED, f"{said} is no data set of {ground.policy.origin} any more")
        if broken := _broken_rule(dataset, said, ground, record):
            return denied(*broken)
    return Decision("permit", SUBJECT, record.base.round, Reason.ALLOWED, ground.policy.digest)


def require_allowed(build: Path, ground: Ground, names: Sequence[str], record: BuildRecord, what: str) -> Decision:
    """Decides, and adds that to the build's file of decisions.

    Args:
        what: is to be done: a stage by its name, "rebase" or "sign".

    Raises:
        PolicyError: it is denied.
        StateError: the disk refuses.
    """
    decision = decide(ground, names, record)
    note(build, ground.policy, what, names or [name for _, name in _trained_on(record)], decision)
    if decision.verdict == "denied":
        raise refusal(decision)
    return decision


def _trained_on(record: BuildRecord) -> list[tuple[Stage, str]]:
    """The data sets of all stages by name, each with the first stage that was trained on it."""
    found = {used.name: stage for stage in reversed(record.accepted) for used in stage.data}
    return [(stage, name) for name, stage in sorted(found.items())]


def _broken_rule(dataset: Dataset, said: str, ground: Ground, record: BuildRecord) -> tuple[Reason, str] | None:
    """The first rule that a data set breaks, in a sentence that calls it `said`."""
    if Use.SOVEREIGN_BUILD not in dataset.uses:
        uses = ", ".join(dataset.uses)
        return Reason.PURPOSE_MISMATCH, f"{said} may be used for {uses}, not for {Use.SOVEREIGN_BUILD}"
    if dataset.privacy is Privacy.ENCLAVE:
        return Reason.PRIVACY_MISSING, f"{said} may be used in an attested enclave only; there is none here"
    if not _may_be_here(dataset, ground, record):
        where = record.jurisdiction or "unknown: say --jurisdiction when the build is made"
        return (
            Reason.OUTSIDE_RESIDENCY,
            f"{said} is {dataset.label} data of {dataset.residency}; the jurisdiction of this machine is {where}",
        )
    return None


def refusal(decision: Decision) -> PolicyError:
    """A denial as the error that ends a command."""
    if decision.code is Reason.UNLABELLED:
        return UnlabelledDataError(f"{decision.reason}: data without a label is refused")
    return PolicyError(decision.reason, decision.code)


def training_files(ground: Ground, stage: StageName, names: Sequence[str]) -> tuple[LabelledFile, ...]:
    """The files of these data sets, sorted by path. Raises DataError for one that such a stage cannot read."""
    found = tuple(file for file in ground.labelled if file.dataset.name in names)
    for file in found:
        if stage != "cpt" and file.path.suffix not in ROW_SUFFIXES:
            raise DataError(f"{file.path}: the stage {stage} takes rows, JSON lines or Parquet, not plain text")
    return found


def data_file(file: LabelledFile) -> DataFile:
    """A file as a worker is told of it."""
    return DataFile(path=str(file.path.absolute()), field=file.dataset.field)


def held_out_files(ground: Ground, names: Sequence[str], record: BuildRecord) -> dict[str, tuple[DataFile, ...]]:
    """Text to score the build on, by language: data sets for evaluation that no stage trains on, and the stage's not.

    Those that may not be read here are left out, and their languages are missing results.
    """
    trained = {used.name for stage in record.accepted for used in stage.data} | set(names)
    found: dict[str, list[DataFile]] = {}
    for file in ground.labelled:
        dataset = file.dataset
        is_meant = Use.EVALUATION in dataset.uses and dataset.name not in trained
        if is_meant and dataset.privacy is not Privacy.ENCLAVE and _may_be_here(dataset, ground, record):
            found.setdefault(dataset.language, []).append(data_file(file))
    return {language: tuple(files) for language, files in sorted(found.items())}


def own_languages(ground: Ground, names: Sequence[str], record: BuildRecord) -> frozenset[str]:
    """The languages that some stage trains on, those of the data sets asked for included."""
    before = {score.language for stage in record.accepted for score in stage.evaluation.languages if score.is_own}
    return frozenset(before | {file.dataset.language for file in ground.labelled if file.dataset.name in names})


def _may_be_here(dataset: Labelled, ground: Ground, record: BuildRecord) -> bool:
    bound = restrictions_of(dataset, ground.policy.isolation)
    return bound.residency is None or bound.may_be_used_in(record.jurisdiction)
