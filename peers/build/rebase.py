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

from peers.build.base import Verified, verify_base
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
    LanguageScore,
    Rebased,
    Result,
    write_record,
)
from peers.build.scored_on import readable, scoring_of
from peers.build.sources import read_ground, require_allowed
from peers.build.weights import require_digest
from peers.lineage.history import last_record, round_with, walk
from swarm.clock import unix_s
from swarm.state.disk import read_file, replace_file
from swarm.state.policies import POLICIES_NAME

_OWNER_ONLY = 0o600


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
        PolicyError: what a stage was trained on is not for builds any more.
        BuildError: a stage changed all weights, the base is not a newer one of its run, or the model is not finished.
        KeyboardInterrupt: it was ended before it was done; there is no `out`.
        TapestryError: the base is not verified, or has another shape.
    """
    with alone(build):
        record, result = _finished(build)
        _require_adapters(build, record)
        ground = read_ground(Path(record.data_folder), Path(record.policy))
        require_allowed(build, ground, (), record, "rebase")
        scoring = scoring_of(build, record, ground)
        verified = verify_base(source, round_number)
        _require_newer(build, record, source, verified)
        make_folder(out, ground.folder)
        try:
            base = put_base(verified, out)
            for stage in record.accepted:
                shutil.copytree(build / stage.folder, out / stage.folder)
            replace_file(out / DECISIONS_NAME, [read_file(build / DECISIONS_NAME) or b""], mode=_OWNER_ONLY)
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


def _require_newer(build: Path, record: BuildRecord, source: Path, verified: Verified) -> None:
    """Refuses a base on which the build could never be signed.

    That its own base is in the chain no more, since founders have restarted the run or a partition has healed, is no
    reason: then a rebase is what helps.

    Raises:
        BuildError: it is of another run or older, or the records do not say what has become of the build's own base.
        LineageError: a record is not what its quorum signed.
    """
    run, base = verified.run, record.base
    if run.id != base.run_id:
        raise BuildError(
            f"{source} holds a base of run {run.id}, and {build} stands on one of run {base.run_id}: "
            "run its recipe on a new build"
        )
    if verified.mark.state_digest.hex() == base.state:
        raise BuildError(f"{build} stands on that Shared Base already (round {base.round})")
    places = [base, *(place.base for place, _ in record.moves)]
    until = min(last_record(verified.state), max(place.round for place in places))
    steps = list(walk(run, verified.state, until))
    for place in places:
        found = round_with(run, steps, place.state)
        if found is None and place.round > until:
            raise BuildError(
                f"the records in {source} end at round {until}, before round {place.round} that {build} was made on: "
                "give --base a state folder that has come so far"
            )
        if found is not None and verified.mark.round < found:
            raise BuildError(
                f"round {verified.mark.round} is older than round {found}, on which {build} was made: "
                "take the base of a later one"
            )


def _moved(record: BuildRecord, result: Result, base: Base, ended: Ended, reasons: tuple[str, ...]) -> BuildRecord:
    """The record on the newer base: the first stage begins with it, the last has the scores of now. No result yet."""
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
        rebased=_came_from(record, result, found.languages),
    )


def _came_from(record: BuildRecord, result: Result, scores: tuple[LanguageScore, ...]) -> Rebased:
    """Where the stages were trained: however often a build is rebased, each of them was trained once."""
    count, before = len(record.accepted), sum(len(stages) for _, stages in record.moves)
    earlier = record.rebased if before else None
    if earlier is None:
        return Rebased(base=record.base, build=result.digest, scores=scores, stages=count)
    if before == count:
        return msgspec.structs.replace(earlier, scores=scores, stages=count)
    earlier = msgspec.structs.replace(earlier, stages=before)
    return Rebased(base=record.base, build=result.digest, scores=scores, stages=count, earlier=earlier)
