"""What the member's policy lets a stage train on, and what a build is scored on. Decides; reads no data.

A stage names data sets of the policy. In this order: each has a label, its `uses` name `sovereign-build`, it may be
used where the machine stands, and together with everything the build was made from before there is still a place and a
use left (`swarm.sovereignty.lattice`). The first rule that is broken is the reason code of the refusal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peers.build.jobs import DataFile
from peers.build.record import BuildRecord, StageName
from peers.ecosystem.rows import ROW_SUFFIXES
from swarm.errors import DataError, PolicyError, UnlabelledDataError
from swarm.sovereignty.decisions import Decision
from swarm.sovereignty.lattice import Labelled, join_all, restrictions_of
from swarm.sovereignty.policy import LabelledFile, Policy, label_folder, read_policy
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
    """Whether a stage may be trained on these data sets."""
    by_name = {file.dataset.name: file.dataset for file in ground.labelled}

    def denied(code: Reason, reason: str) -> Decision:
        return Decision("denied", SUBJECT, record.base.round, code, ground.policy.digest, reason=reason)

    for name in names:
        dataset = by_name.get(name)
        if dataset is None:
            known = ", ".join(ground.names)
            return denied(Reason.UNLABELLED, f"{name!r} is no data set of {ground.policy.origin}, which has: {known}")
        if Use.SOVEREIGN_BUILD not in dataset.uses:
            uses = ", ".join(dataset.uses)
            return denied(Reason.PURPOSE_MISMATCH, f"{name} may be used for {uses}, not for {Use.SOVEREIGN_BUILD}")
        if dataset.privacy is Privacy.ENCLAVE:
            return denied(Reason.PRIVACY_MISSING, f"{name} may be used in an attested enclave only; there is none here")
        if not _may_be_here(dataset, ground, record):
            where = record.jurisdiction or "unknown: say --jurisdiction when the build is made"
            return denied(
                Reason.OUTSIDE_RESIDENCY,
                f"{name} is {dataset.label} data of {dataset.residency}; the jurisdiction of this machine is {where}",
            )
    earlier = [used for stage in record.accepted for used in stage.data]
    parts: list[Labelled] = [*earlier, *(by_name[name] for name in names)]
    bound = join_all(restrictions_of(part, ground.policy.isolation) for part in parts)
    if bound.residency is not None and not bound.residency:
        return denied(Reason.OUTSIDE_RESIDENCY, "data bound to different jurisdictions may be used together nowhere")
    if Use.SOVEREIGN_BUILD not in bound.uses:
        return denied(Reason.PURPOSE_MISMATCH, f"what the stages before were made from is not for {SUBJECT}s any more")
    return Decision("permit", SUBJECT, record.base.round, Reason.ALLOWED, ground.policy.digest)


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
