"""Runs the stages of a build: decision, plan, training in confinement, gate, and the place of what was made.

A stage that is asked for again as it was is not trained again: one that was accepted is passed over, one that was
refused is judged anew (its limits may be others now), one that was interrupted goes on from its last checkpoint.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from peers.build.canary import Canary, draw
from peers.build.confined import BuildError, remove, run_confined, work_folder
from peers.build.gate import judge, missing
from peers.build.jobs import WEIGHTS_FOLDER, FromWorker, Scoring, Stopped, TrainStage
from peers.build.place import place_model, place_stage, recover, with_stage
from peers.build.recipe import Asked
from peers.build.record import (
    BASE_FOLDER,
    DECISIONS_NAME,
    MODEL_FOLDER,
    WORK_FOLDER,
    BuildRecord,
    Canaries,
    Method,
    Settings,
    Stage,
    StageName,
    read_record,
    write_record,
)
from peers.build.sources import (
    Ground,
    data_of,
    decide,
    held_out_files,
    own_languages,
    read_ground,
    refusal,
    training_files,
)
from peers.build.weights import require_digest
from peers.fingerprint import data_used
from swarm.clock import unix_s
from swarm.errors import StateError
from swarm.sovereignty.artefacts import DataUsed
from swarm.state.disk import read_file, replace_file

CANARIES_NAME = "canaries.json"
_PLAN_NAME = "plan.json"
_OWNER_ONLY = 0o600


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What decides the weights of a stage; kept beside its checkpoints."""

    name: StageName
    method: Method
    settings: Settings
    canaries: Canaries
    data: tuple[tuple[str, str], ...]
    """Names and digests."""
    parent: str
    planted: tuple[Canary, ...] = ()
    started: float = 0.0

    def is_like(self, other: "Plan") -> bool:
        """The same but for the canaries that were drawn, and when."""
        return msgspec.structs.replace(self, planted=other.planted, started=other.started) == other


@dataclass(frozen=True)
class StageEnd:
    """How it went with one stage."""

    stage: Stage
    record: BuildRecord
    was_done: bool
    """It was on record as accepted already."""


def run_stages(build: Path, asked: Sequence[Asked], show: Callable[[FromWorker], None]) -> list[StageEnd]:
    """The stages of a recipe, from the first on, up to one that is refused; those on record are passed over.

    Raises:
        BuildError: a stage on record is another one than the recipe's, or as `run_stage`.
    """
    ends: list[StageEnd] = []
    for position, each in enumerate(asked):
        ends.append(run_stage(build, each, show, position))
        if ends[-1].stage.verdict == "refused":
            break
    return ends


def run_stage(build: Path, asked: Asked, show: Callable[[FromWorker], None], position: int | None = None) -> StageEnd:
    """One stage: the one at this position of a recipe, or the next one, unless the last was this.

    Raises:
        PolicyError: the policy does not allow the data.
        BuildError: it failed, a result is missing, or there is another stage at the position.
        KeyboardInterrupt: a checkpoint was written on request.
        TapestryError: the data, the build's files or the disk.
    """
    record = read_record(build)
    recover(build, record)
    ground = read_ground(Path(record.data_folder), Path(record.policy))
    decision = decide(ground, asked.data, record)
    note_decision(build, asked, decision.line, decision.reason)
    if decision.verdict == "denied":
        raise refusal(decision)
    files = training_files(ground, asked.data)
    used = data_used(ground.folder, files, build / WORK_FOLDER)
    at = position if position is not None else _position(record, asked, used)
    if at < len(record.accepted):
        stage = record.accepted[at]
        if not _is_stage(stage, asked, used):
            raise BuildError(
                f"stage {at + 1} of {build} is another one ({stage.n}-{stage.name}): its data, method or settings "
                "differ. Begin another build for another recipe"
            )
        return StageEnd(stage, record, was_done=True)
    return _train(build, record, ground, asked, used, [file.path for file in files], show)


def note_decision(build: Path, asked: Asked, line: str, reason: str) -> None:
    """Adds a decision to the build's file of them. Raises StateError."""
    path = build / DECISIONS_NAME
    entry = {"at": unix_s(), "stage": asked.name, "data": asked.data, "decision": line, "reason": reason}
    replace_file(path, [read_file(path) or b"", msgspec.json.encode(entry) + b"\n"], mode=_OWNER_ONLY)


def scoring_of(
    build: Path,
    record: BuildRecord,
    ground: Ground,
    data: Sequence[str] = (),
    planted: Sequence[Canary] = (),
    alternatives: int | None = None,
) -> Scoring:
    """What the build is scored on, with the canaries of its stages and of one that is being trained.

    Raises:
        BuildError: text that the gate needs is missing from the policy.
        StateError: the canaries of a stage cannot be read.
    """
    held_out = held_out_files(ground, data, record)
    own = own_languages(ground, data, record)
    if lacking := missing(own, held_out):
        raise BuildError("; ".join(lacking))
    known = [canary for stage in record.accepted for canary in _canaries(build / stage.folder)]
    last = record.accepted[-1] if record.accepted else None
    return Scoring(
        held_out={language: tuple(map(str, paths)) for language, paths in held_out.items()},
        own=own,
        window=window_of(build / BASE_FOLDER),
        canaries=(*known, *planted),
        alternatives=alternatives or (last.canaries if last else Canaries()).alternatives,
        seed=0,
    )


def window_of(model: Path) -> int:
    """Bytes that are scored from one another: what the model takes, but not so many that little text is left."""
    try:
        config = msgspec.json.decode((model / "config.json").read_bytes(), type=dict[str, object])
    except (OSError, msgspec.DecodeError) as error:
        raise StateError(f"{model / 'config.json'} cannot be read: {error}") from None
    longest = config.get("max_position_embeddings")
    return min(longest, _WINDOW) if isinstance(longest, int) else _WINDOW


_WINDOW = 256


def readable(scoring: Scoring) -> list[Path]:
    """The files a worker needs for scoring."""
    return [Path(name) for names in scoring.held_out.values() for name in names]


def _position(record: BuildRecord, asked: Asked, used: Sequence[DataUsed]) -> int:
    accepted = record.accepted
    return len(accepted) - 1 if accepted and _is_stage(accepted[-1], asked, used) else len(accepted)


def _is_stage(stage: Stage, asked: Asked, used: Sequence[DataUsed]) -> bool:
    return (stage.name, stage.method, stage.settings, stage.canaries, data_of(stage.data)) == (
        asked.name,
        asked.method,
        asked.settings,
        asked.canaries,
        data_of(used),
    )


def _train(
    build: Path,
    record: BuildRecord,
    ground: Ground,
    asked: Asked,
    used: tuple[DataUsed, ...],
    files: Sequence[Path],
    show: Callable[[FromWorker], None],
) -> StageEnd:
    n = len(record.accepted) + 1
    folder = f"{n}-{asked.name}"
    work = build / WORK_FOLDER / folder
    parent = _parent(build, record)
    plan = _plan(work, asked, used, record.tip)
    scoring = scoring_of(build, record, ground, asked.data, plan.planted, asked.canaries.alternatives)
    refused = record.stages[-1] if len(record.stages) >= n else None
    out = work_folder(work)
    if refused is None or not _is_stage(refused, asked, used) or not (out / WEIGHTS_FOLDER).is_dir():
        job = TrainStage(
            stage=asked.name,
            method=asked.method,
            settings=asked.settings,
            base=str((build / BASE_FOLDER).absolute()),
            parent=str(parent.absolute()),
            files=tuple(str(path.absolute()) for path in files),
            planted=plan.planted,
            insertions=asked.canaries.insertions,
            scoring=scoring,
            out=str(out.absolute()),
        )
        read = [build / BASE_FOLDER, parent, *files, *readable(scoring)]
        ended = run_confined(job, work, read=read, required=ground.policy.isolation, show=show)
        if isinstance(ended.last, Stopped):
            raise KeyboardInterrupt
        evaluation, final_loss, isolation = ended.last.evaluation, ended.last.final_loss, ended.isolation
    else:
        evaluation, final_loss, isolation = refused.evaluation, refused.final_loss, refused.isolation
    reasons = judge(evaluation, scoring.own, _counted(scoring), asked.limits)
    stage = Stage(
        n=n,
        name=asked.name,
        method=asked.method,
        data=used,
        settings=asked.settings,
        canaries=asked.canaries,
        parent=record.tip,
        result="",
        folder=folder,
        evaluation=evaluation,
        limits=asked.limits,
        verdict="refused" if reasons else "accepted",
        reasons=reasons,
        decision=decide(ground, asked.data, record).line,
        isolation=isolation,
        final_loss=final_loss,
        started=plan.started,
        finished=unix_s(),
    )
    return _settle(build, record, stage, out, plan)


def _settle(build: Path, record: BuildRecord, stage: Stage, out: Path, plan: Plan) -> StageEnd:
    """Puts a judged stage on record, and in its place if it is accepted."""
    if stage.verdict == "refused":
        record = with_stage(record, stage)
        write_record(build, record)
        return StageEnd(stage, record, was_done=False)
    digest = place_stage(out, stage.method, build / stage.folder)
    stage = msgspec.structs.replace(stage, result=digest)
    path = build / stage.folder / CANARIES_NAME
    replace_file(path, [msgspec.json.encode(plan.planted)], mode=_OWNER_ONLY)
    record = place_model(build, out / WEIGHTS_FOLDER, with_stage(record, stage))
    remove(build / WORK_FOLDER / stage.folder)
    return StageEnd(stage, record, was_done=False)


def _parent(build: Path, record: BuildRecord) -> Path:
    """The folder of the model that the next stage begins with, as it is on record. Raises ModelError or BuildError."""
    require_digest(build / BASE_FOLDER, record.base.weights)
    if record.result is None and record.accepted:
        raise BuildError(f"the gate refused {build} when it was rebased, so it has no model to go on from")
    if record.result is None:
        return build / BASE_FOLDER
    require_digest(build / MODEL_FOLDER, record.result.digest)
    return build / MODEL_FOLDER


def _plan(work: Path, asked: Asked, used: Sequence[DataUsed], parent: str) -> Plan:
    """The plan of an interrupted stage if it is the one asked for; else a new one, and what lies there goes."""
    wanted = Plan(
        name=asked.name,
        method=asked.method,
        settings=asked.settings,
        canaries=asked.canaries,
        data=data_of(used),
        parent=parent,
    )
    data = read_file(work / _PLAN_NAME)
    try:
        kept = None if data is None else msgspec.json.decode(data, type=Plan)
    except msgspec.DecodeError:
        kept = None
    if kept is not None and wanted.is_like(kept):
        return kept
    remove(work)
    plan = msgspec.structs.replace(wanted, planted=draw(asked.canaries.count), started=unix_s())
    work_folder(work)
    replace_file(work / _PLAN_NAME, [msgspec.json.encode(plan)], mode=_OWNER_ONLY)
    return plan


def _canaries(folder: Path) -> tuple[Canary, ...]:
    data = read_file(folder / CANARIES_NAME)
    try:
        return () if data is None else msgspec.json.decode(data, type=tuple[Canary, ...])
    except msgspec.DecodeError as error:
        raise StateError(f"{folder / CANARIES_NAME} is damaged: {error}") from None


def _counted(scoring: Scoring) -> Canaries:
    """As many canaries as must have a result: those of every stage."""
    return Canaries(count=len(scoring.canaries), alternatives=scoring.alternatives)
