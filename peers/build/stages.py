"""Runs a stage of a build: decision, plan, training in confinement, gate, and the place of what was made.

A stage that is asked for again as it was is not trained again: one that was accepted is passed over, one that was
refused is scored and judged anew (held-out text and limits may be others now), one that was interrupted goes on from
its last checkpoint.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from peers.build.base import longest_of
from peers.build.confined import BuildError, Ended, remove, run_confined, work_folder
from peers.build.folder import alone
from peers.build.gate import judge
from peers.build.jobs import WEIGHTS_FOLDER, FromWorker, Scoring, TrainStage
from peers.build.place import mended_record, place_model, place_stage, with_stage
from peers.build.plan import Plan, begin_or_resume, plan_behind, plan_of
from peers.build.recipe import Asked
from peers.build.record import (
    BASE_FOLDER,
    MODEL_FOLDER,
    WORK_FOLDER,
    BuildRecord,
    Stage,
    write_record,
)
from peers.build.scored_on import CANARIES_NAME, readable, scoring_of
from peers.build.sources import Ground, data_file, read_ground, require_allowed, training_files
from peers.build.weights import require_digest
from peers.extraction import write_canaries
from peers.fingerprint import data_used
from swarm.clock import unix_s
from swarm.errors import DataError
from swarm.sovereignty.artefacts import DataUsed
from swarm.sovereignty.policy import LabelledFile
from swarm.state.disk import told

_OWNER_ONLY = 0o600


@dataclass(frozen=True)
class StageEnd:
    """How it went with one stage."""

    stage: Stage
    record: BuildRecord
    was_done: bool
    """It was on record as accepted already."""


@dataclass(frozen=True)
class _Allowed:
    """A stage that the policy allows."""

    asked: Asked
    ground: Ground
    files: tuple[LabelledFile, ...]
    used: tuple[DataUsed, ...]
    decision: str


def run_stage(build: Path, asked: Asked, show: Callable[[FromWorker], None], position: int | None = None) -> StageEnd:
    """One stage: the one at this position of a recipe, or the next one, unless the last was this.

    Raises:
        PolicyError: the policy does not allow the data.
        BuildError: it failed, a result is missing, or there is another stage at the position.
        KeyboardInterrupt: it was ended before it was done; what it had saved is kept.
        TapestryError: the data, the build's files or the disk.
    """
    with alone(build):
        record = mended_record(build)
        ground = read_ground(Path(record.data_folder), Path(record.policy))
        decision = require_allowed(build, ground, asked.data, record, asked.name)
        files = training_files(ground, asked.name, asked.data)
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
        return _train(build, record, _Allowed(asked, ground, files, used, decision.line), show)


def _position(record: BuildRecord, asked: Asked, used: Sequence[DataUsed]) -> int:
    accepted = record.accepted
    return len(accepted) - 1 if accepted and _is_stage(accepted[-1], asked, used) else len(accepted)


def _is_stage(stage: Stage, asked: Asked, used: Sequence[DataUsed]) -> bool:
    return plan_behind(stage) == plan_of(asked, used, stage.parent)


def _train(build: Path, record: BuildRecord, allowed: _Allowed, show: Callable[[FromWorker], None]) -> StageEnd:
    asked, ground = allowed.asked, allowed.ground
    longest = longest_of(build / BASE_FOLDER)
    if longest is not None and asked.settings.sequence_length > longest:
        raise DataError(f"sequence_length is {asked.settings.sequence_length}, and the model takes {longest} tokens")
    parent = _parent(build, record)
    scoring = scoring_of(build, record, ground, asked.data)
    n = len(record.accepted) + 1
    folder = f"{n}-{asked.name}"
    work = build / WORK_FOLDER / folder
    plan = begin_or_resume(work, plan_of(asked, allowed.used, record.tip))
    scoring = msgspec.structs.replace(
        scoring, canaries=(*scoring.canaries, *plan.planted), alternatives=asked.canaries.alternatives
    )
    out = work_folder(work)
    job = TrainStage(
        stage=asked.name,
        method=asked.method,
        settings=asked.settings,
        base=str((build / BASE_FOLDER).absolute()),
        parent=str(parent.absolute()),
        files=tuple(data_file(file) for file in allowed.files),
        planted=plan.planted,
        insertions=asked.canaries.insertions,
        scoring=scoring,
        out=str(out.absolute()),
    )
    read = [build / BASE_FOLDER, parent, *(file.path for file in allowed.files), *readable(scoring)]
    ended = run_confined(job, work, read=read, required=ground.policy.isolation, show=show)
    stage = _stage(n, folder, allowed, plan, scoring, ended)
    return _settle(build, record, stage, out, plan)


def _stage(n: int, folder: str, allowed: _Allowed, plan: Plan, scoring: Scoring, ended: Ended) -> Stage:
    """What goes on record of a stage, judged."""
    asked = allowed.asked
    reasons = judge(ended.done.evaluation, scoring.held_out, len(scoring.canaries), asked.limits)
    return Stage(
        n=n,
        name=asked.name,
        method=asked.method,
        data=allowed.used,
        settings=asked.settings,
        canaries=asked.canaries,
        parent=plan.parent,
        result="",
        folder=folder,
        evaluation=ended.done.evaluation,
        limits=asked.limits,
        verdict="refused" if reasons else "accepted",
        reasons=reasons,
        decision=allowed.decision,
        isolation=ended.isolation,
        final_loss=ended.done.final_loss,
        started=plan.started,
        finished=unix_s(),
    )


def _settle(build: Path, record: BuildRecord, stage: Stage, out: Path, plan: Plan) -> StageEnd:
    """Puts a judged stage on record, and in its place if it is accepted."""
    if stage.verdict == "refused":
        record = with_stage(record, stage)
        write_record(build, record)
        return StageEnd(stage, record, was_done=False)
    digest = place_stage(out, stage.method, build / stage.folder)
    stage = msgspec.structs.replace(stage, result=digest)
    path = build / stage.folder / CANARIES_NAME
    with told(path):
        write_canaries(path, plan.planted)
        path.chmod(_OWNER_ONLY)
    record = place_model(build, out / WEIGHTS_FOLDER, with_stage(record, stage))
    remove(build / WORK_FOLDER / stage.folder)
    return StageEnd(stage, record, was_done=False)


def _parent(build: Path, record: BuildRecord) -> Path:
    """The folder of the model that the next stage begins with, as it is on record. Raises ModelError or BuildError."""
    require_digest(build / BASE_FOLDER, record.base.weights)
    if record.result is None and record.rebased is not None:
        raise BuildError(
            f"the gate refused {build} when it was rebased, so it has no model to go on from: "
            "run its recipe on a new build"
        )
    if record.result is None:
        return build / BASE_FOLDER
    require_digest(build / MODEL_FOLDER, record.result.digest)
    return build / MODEL_FOLDER
