"""A finished build looked at again: scored anew, or its adapters put on a newer Shared Base as another build.

An adapter adds its change to whatever weights it is put on, so the stages of a build carry over in order where each of
them is one. Whether that is as good as training them again is what the scores are for.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec

from peers.build.base import verify_base
from peers.build.begin import DISTRIBUTION, put_base
from peers.build.confined import BuildError, Ended, remove, run_confined, work_folder
from peers.build.folder import alone, make_folder
from peers.build.gate import judge
from peers.build.jobs import WEIGHTS_FOLDER, FromWorker, Rebase, Score
from peers.build.place import mended_record, place_model
from peers.build.record import (
    BASE_FOLDER,
    DECISIONS_NAME,
    MODEL_FOLDER,
    WORK_FOLDER,
    Base,
    BuildRecord,
    Evaluation,
    Rebased,
    Result,
    write_record,
)
from peers.build.scored_on import readable, scoring_of
from peers.build.sources import read_ground
from peers.build.weights import require_digest
from swarm.clock import unix_s
from swarm.state.policies import POLICIES_NAME


@dataclass(frozen=True)
class Judged:
    """A model's scores, and why the gate refuses it; no reasons if it does not."""

    record: BuildRecord
    evaluation: Evaluation
    reasons: tuple[str, ...]
    isolation: str


def evaluate_build(build: Path, show: Callable[[FromWorker], None]) -> Judged:
    """Scores the build's model as it lies, on what the policy has for evaluation now; changes nothing on record.

    Raises:
        BuildError: there is no model yet, or the scoring failed.
        KeyboardInterrupt: it was ended before it was done.
        TapestryError: the model is not the one on record, the data, or the disk.
    """
    with alone(build):
        record, _ = _finished(build)
        ground = read_ground(Path(record.data_folder), Path(record.policy))
        scoring = scoring_of(build, record, ground)
        base, model, work = build / BASE_FOLDER, build / MODEL_FOLDER, build / WORK_FOLDER / "evaluate"
        out = work_folder(work)
        job = Score(base=str(base.absolute()), model=str(model.absolute()), scoring=scoring, out=str(out.absolute()))
        read = [base, model, *readable(scoring)]
        try:
            ended = run_confined(job, work, read=read, required=ground.policy.isolation, show=show)
        finally:
            remove(work)
        found = ended.done.evaluation
        reasons = judge(found, scoring.held_out, len(scoring.canaries), record.accepted[-1].limits)
        return Judged(record, found, reasons, ended.isolation)


def rebase(
    build: Path, source: Path, round_number: int | None, out: Path, show: Callable[[FromWorker], None]
) -> Judged:
    """Makes `out`: the same adapters on the Shared Base of `source`, judged like a stage. `build` stays as it is.

    Raises:
        UsageError: `out` is there already, or `source` is not.
        BuildError: a stage changed all weights, the base is the one it is on, or the model is not finished.
        KeyboardInterrupt: it was ended before it was done; there is no `out`.
        TapestryError: the base is not verified, or has another shape.
    """
    with alone(build):
        record, result = _finished(build)
        _require_adapters(build, record)
        ground = read_ground(Path(record.data_folder), Path(record.policy))
        scoring = scoring_of(build, record, ground)
        verified = verify_base(source, round_number)
        if verified.mark.state_digest.hex() == record.base.state:
            raise BuildError(f"{build} stands on that Shared Base already (round {record.base.round})")
        make_folder(out, ground.folder)
        try:
            base = put_base(verified, out)
            for stage in record.accepted:
                shutil.copytree(build / stage.folder, out / stage.folder)
            shutil.copy2(build / DECISIONS_NAME, out)
            if (build / POLICIES_NAME).is_dir():  # of builds that began before policies were kept there are none
                shutil.copytree(build / POLICIES_NAME, out / POLICIES_NAME)
            work = out / WORK_FOLDER / "rebase"
            job = Rebase(
                base=str((out / BASE_FOLDER).absolute()),
                before=str((build / MODEL_FOLDER).absolute()),
                adapters=tuple(str((out / stage.folder).absolute()) for stage in record.accepted),
                scoring=scoring,
                out=str(work_folder(work).absolute()),
            )
            read = [out / BASE_FOLDER, build / MODEL_FOLDER, *(out / stage.folder for stage in record.accepted)]
            ended = run_confined(
                job, work, read=[*read, *readable(scoring)], required=ground.policy.isolation, show=show
            )
            found = ended.done.evaluation
            reasons = judge(found, scoring.held_out, len(scoring.canaries), record.accepted[-1].limits)
            moved = _moved(record, result, base, ended, reasons)
            if reasons:
                write_record(out, moved)
            else:
                moved = place_model(out, Path(job.out) / WEIGHTS_FOLDER, moved)
            remove(out / WORK_FOLDER)
        except BaseException:
            shutil.rmtree(out)  # made a moment ago; half a build is none
            raise
        return Judged(moved, found, reasons, ended.isolation)


def _finished(build: Path) -> tuple[BuildRecord, Result]:
    """The record of a build with a model, all of whose files are those on record. Raises BuildError or ModelError."""
    record = mended_record(build)
    if record.result is None:
        raise BuildError(f"{build} has no model yet: run a stage first")
    require_digest(build / BASE_FOLDER, record.base.weights)
    require_digest(build / MODEL_FOLDER, record.result.digest)
    return record, record.result


def _require_adapters(build: Path, record: BuildRecord) -> None:
    for stage in record.accepted:
        if stage.method == "full":
            raise BuildError(
                f"stage {stage.n}-{stage.name} of {build} changed all weights: only adapters carry over to another "
                "base. Run its recipe on a new build"
            )
        require_digest(build / stage.folder, stage.result)


def _moved(record: BuildRecord, result: Result, base: Base, ended: Ended, reasons: tuple[str, ...]) -> BuildRecord:
    """The record on the newer base: the first stage begins with it, the last has the scores of now. No result yet.

    However often a build is rebased, its stages were trained once.
    """
    trained_on, trained = (record.base, result.digest)
    if record.rebased is not None:
        trained_on, trained = record.rebased.base, record.rebased.build
    first, *rest = record.accepted
    stages = [msgspec.structs.replace(first, parent=base.weights), *rest]
    found = ended.done.evaluation
    stages[-1] = msgspec.structs.replace(
        stages[-1], evaluation=found, reasons=reasons, verdict="refused" if reasons else "accepted"
    )
    return msgspec.structs.replace(
        record,
        code=version(DISTRIBUTION),
        created=unix_s(),
        base=base,
        stages=tuple(stages),
        result=None,
        rebased=Rebased(base=trained_on, build=trained, scores=found.languages),
    )
