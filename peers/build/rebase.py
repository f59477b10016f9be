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
from peers.build.begin import DISTRIBUTION, make_folder, put_base
from peers.build.confined import BuildError, remove, run_confined, work_folder
from peers.build.gate import judge
from peers.build.jobs import WEIGHTS_FOLDER, Done, FromWorker, Rebase, Score
from peers.build.place import place_model, recover
from peers.build.record import (
    BASE_FOLDER,
    DECISIONS_NAME,
    MODEL_FOLDER,
    WORK_FOLDER,
    BuildRecord,
    Canaries,
    Evaluation,
    Rebased,
    read_record,
    write_record,
)
from peers.build.sources import read_ground
from peers.build.stages import readable, scoring_of
from peers.build.weights import require_digest
from swarm.clock import unix_s


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
        TapestryError: the model is not the one on record, the data, or the disk.
    """
    record = _finished(build)
    ground = read_ground(Path(record.data_folder), Path(record.policy))
    scoring = scoring_of(build, record, ground)
    base, model, work = build / BASE_FOLDER, build / MODEL_FOLDER, build / WORK_FOLDER / "evaluate"
    job = Score(base=str(base.absolute()), model=str(model.absolute()), scoring=scoring)
    read = [base, model, *readable(scoring)]
    work_folder(work)
    ended = run_confined(job, work, read=read, required=ground.policy.isolation, show=show)
    remove(work)
    if not isinstance(ended.last, Done):
        raise KeyboardInterrupt
    found = ended.last.evaluation
    counted = Canaries(count=len(scoring.canaries))
    reasons = judge(found, scoring.own, counted, record.accepted[-1].limits)
    return Judged(record, found, reasons, ended.isolation)


def rebase(
    build: Path, source: Path, round_number: int | None, out: Path, show: Callable[[FromWorker], None]
) -> Judged:
    """Makes `out`: the same adapters on the Shared Base of `source`, judged like a stage. `build` stays as it is.

    Raises:
        UsageError: `out` is there already, or `source` is not.
        BuildError: a stage changed all weights, the base is the one it is on, or the model is not finished.
        TapestryError: the base is not verified, or has another shape.
    """
    record = _finished(build)
    full = [stage for stage in record.accepted if stage.method == "full"]
    if full:
        raise BuildError(
            f"stage {full[0].n}-{full[0].name} of {build} changed all weights: only adapters carry over to another "
            "base. Run its recipe again on a new build"
        )
    ground = read_ground(Path(record.data_folder), Path(record.policy))
    scoring = scoring_of(build, record, ground)
    verified = verify_base(source, round_number)
    if verified.mark.state_digest.hex() == record.base.state:
        raise BuildError(f"{build} stands on that Shared Base already (round {record.base.round})")
    make_folder(out)
    try:
        base = put_base(verified, out)
        for stage in record.accepted:
            require_digest(build / stage.folder, stage.result)
            shutil.copytree(build / stage.folder, out / stage.folder)
        if (build / DECISIONS_NAME).exists():
            shutil.copy2(build / DECISIONS_NAME, out)
        work = out / WORK_FOLDER / "rebase"
        job = Rebase(
            base=str((out / BASE_FOLDER).absolute()),
            before=str((build / MODEL_FOLDER).absolute()),
            adapters=tuple(str((out / stage.folder).absolute()) for stage in record.accepted),
            scoring=scoring,
            out=str(work_folder(work).absolute()),
        )
        read = [out / BASE_FOLDER, build / MODEL_FOLDER, *(out / stage.folder for stage in record.accepted)]
        ended = run_confined(job, work, read=[*read, *readable(scoring)], required=ground.policy.isolation, show=show)
        if not isinstance(ended.last, Done):
            raise KeyboardInterrupt
        found = ended.last.evaluation
        limits = record.accepted[-1].limits
        reasons = judge(found, scoring.own, Canaries(count=len(scoring.canaries)), limits)
        first, *rest = record.accepted
        stages = [msgspec.structs.replace(first, parent=base.weights), *rest]
        stages[-1] = msgspec.structs.replace(
            stages[-1], evaluation=found, reasons=reasons, verdict="refused" if reasons else "accepted"
        )
        assert record.result is not None, "it is finished"
        moved = msgspec.structs.replace(
            record,
            code=version(DISTRIBUTION),
            created=unix_s(),
            base=base,
            stages=tuple(stages),
            result=None,
            rebased=Rebased(base=record.base, build=record.result.digest, scores=found.languages),
        )
        if reasons:
            write_record(out, moved)
        else:
            moved = place_model(out, work_folder(work) / WEIGHTS_FOLDER, moved)
            remove(out / WORK_FOLDER)
    except BaseException:
        shutil.rmtree(out)  # made a moment ago; half a build is none
        raise
    return Judged(moved, found, reasons, ended.isolation)


def _finished(build: Path) -> BuildRecord:
    """The record of a build with a model, all of whose files are those on record. Raises BuildError or ModelError."""
    record = read_record(build)
    recover(build, record)
    if record.result is None:
        raise BuildError(f"{build} has no model yet: run a stage first")
    require_digest(build / BASE_FOLDER, record.base.weights)
    require_digest(build / MODEL_FOLDER, record.result.digest)
    return record
