"""Signs where a Sovereign Build comes from: its record, the records below its base, and the model folder as it lies.

Every digest on record is taken anew from the files. Data sets get a salted commitment each, kept with its salt in
BUILD/artefacts.json for the owner: signing again gives the same ids, and the owner can open them.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from peers.build.folder import alone
from peers.build.record import BASE_FOLDER, MODEL_FOLDER, BuildRecord, read_record, trained
from peers.build.record import Base as BaseRecord
from peers.build.record import Stage as StageRecord
from peers.build.sources import Ground, require_allowed
from peers.build.weights import require_digest
from peers.lineage.code import code
from peers.lineage.history import (
    CHARTER_NAME,
    Step,
    base_at,
    check_parents,
    last_record,
    read_run,
    require_state,
    round_with,
    spans_of,
    walk,
)
from peers.lineage.replay import replay
from peers.lineage.sign import Signed, write_statement
from peers.lineage.statement import (
    STATE_DIGEST,
    WEIGHTS_DIGEST,
    Lineage,
    Measure,
    Parent,
    Relation,
    Stage,
    check_rules,
    source_of,
)
from peers.lineage.weights import is_base
from swarm.errors import LineageError, ModelError, StateError, UsageError
from swarm.identity.key import Identity
from swarm.isolation.levels import NONE
from swarm.sovereignty.artefacts import Artefact, is_what_it_says, record_of
from swarm.sovereignty.entry import SALT_BYTES, Tier
from swarm.sovereignty.lattice import restrictions_of
from swarm.sovereignty.policy import read_policy
from swarm.state.chain import Mark
from swarm.state.disk import read_file, replace_file
from swarm.state.run import Run

ARTEFACTS_NAME = "artefacts.json"
_OWNER_ONLY = 0o600


def sign_build(build: Path, identity: Identity, *, tier: Tier, at: float, state: Path | None = None) -> Signed:
    """Signs BUILD/model, beside its files; `at` is in Unix seconds.

    `state` is the state folder with the records below the base; the one that the base was taken from, if left out.

    Raises:
        UsageError: there is no such build, no state folder, or no policy file.
        PolicyError: the policy lets what a stage was trained on be used no more.
        LineageError: it has no result, its files are not those on record, or its base is not in the chain.
        StateError: a file cannot be read or written.
    """
    record = read_record(build)
    _check_files(build, record)
    _require_allowed(build, record)
    folder = state or _state_of(Path(record.base.checkpoint))
    if folder is None:
        raise UsageError(f"nothing says where the records below the base of {build} are: give --state")
    run = read_run(require_state(folder), record.base.run_id)
    # Stages may have been trained on a round that is above the base: one that was taken back since.
    highest = max((place.base.round for place, _ in record.moves), default=0)
    rounds = list(walk(run, folder, max(record.base.round, min(highest, last_record(folder)))))
    steps = rounds[: record.base.round]
    base = base_at(run, steps[-1].after if steps else Mark.genesis(run))
    held = replay(run, folder, steps).base_N
    is_other = held is not None and not is_base(build / BASE_FOLDER, held)
    if is_other or (base.state, base.record) != (record.base.state, record.base.record):
        raise LineageError(f"the base of {build} is not the state of round {base.round} in the chain of {folder}")
    artefacts = _artefacts(build, record)
    lineage = Lineage(
        kind="build",
        made_at=at,
        tier=tier,
        parents=tuple(_parents(build, record, run, rounds)),
        base=base,
        rounds=spans_of(step.decided for step in steps),
        data=tuple(source_of(artefact, tier) for _, artefact in sorted(artefacts.items())),
        evaluation=_measures(record.accepted[-1]),
        stages=tuple(_stage(stage, artefacts) for stage in record.accepted),
        code=code(),
    )
    check_rules(lineage)
    check_parents(run, steps, lineage.parents)
    return write_statement(build / MODEL_FOLDER, lineage, identity)


def _check_files(build: Path, record: BuildRecord) -> None:
    if record.result is None or not record.accepted:
        raise LineageError(f"{build} has no result yet: no stage has become {MODEL_FOLDER}/")
    on_record = [(BASE_FOLDER, record.base.weights), (MODEL_FOLDER, record.result.digest)]
    on_record += [(stage.folder, stage.result) for stage in record.accepted]
    try:
        for name, digest in on_record:
            require_digest(build / name, digest)
    except ModelError as error:
        raise LineageError(str(error)) from None


def _require_allowed(build: Path, record: BuildRecord) -> None:
    """Asks the policy that is in force now. Raises UsageError where it is gone, and PolicyError where it says no."""
    path = Path(record.policy)
    if not path.exists():
        raise UsageError(
            f"policy file {path} does not exist: put it back, for it says whether the data of {build} may be used"
        )
    ground = Ground(Path(record.data_folder), read_policy(path), ())
    with alone(build):
        require_allowed(build, ground, (), record, "sign")


def _parents(build: Path, record: BuildRecord, run: Run, rounds: Sequence[Step]) -> list[Parent]:
    """The Shared Base first; then what stages were trained on that were put on it since."""
    is_adapter = all(stage.method == "lora" for stage in record.accepted)
    base = record.base
    found = [
        Parent(
            relation="adapter" if is_adapter else "fine-tune",
            domain="shared",
            name=f"Shared Base of round {base.round}",
            digest={STATE_DIGEST: base.state, WEIGHTS_DIGEST: base.weights},
        )
    ]
    for place, stages in record.moves:
        relation = _relation(build, record, run, rounds, place.base)
        is_gone = ", whose round was taken back since and is in the chain no more" if relation == "withdrawn" else ""
        found.append(
            Parent(
                relation=relation,
                domain="shared",
                name=f"Shared Base of round {place.base.round}, on which {trained(stages)}{is_gone}",
                digest={STATE_DIGEST: place.base.state, WEIGHTS_DIGEST: place.base.weights},
            )
        )
        found.append(
            Parent(
                relation="rebase",
                domain="sovereign",
                name=f"the build on round {place.base.round} that was rebased",
                digest={WEIGHTS_DIGEST: place.build},
            )
        )
    return found


def _relation(build: Path, record: BuildRecord, run: Run, rounds: Sequence[Step], place: BaseRecord) -> Relation:
    """What a base that stages were trained on is to the chain now. Raises LineageError where that cannot be said."""
    if place.run_id != run.id:
        raise LineageError(
            f"stages of {build} were trained on a base of run {place.run_id}, which is no parent in run {run.id}: "
            "run its recipe on a new build"
        )
    found = round_with(run, rounds, place.state)
    if found is None and place.round > len(rounds):
        raise LineageError(
            f"the records end at round {len(rounds)}, before round {place.round} that {build} was trained on: "
            "give --state a peer's folder that has come so far"
        )
    if found is not None and found > record.base.round:
        raise LineageError(
            f"{build} was rebased to round {record.base.round}, and round {found}, on which stages were trained, "
            "came later: rebase it to a later one"
        )
    return "withdrawn" if found is None else "rebase"


def _stage(stage: StageRecord, artefacts: dict[str, Artefact]) -> Stage:
    used = {(data.name, data.digest) for data in stage.data}
    return Stage(
        name=stage.name,
        method=stage.method,
        parent=stage.parent,
        result=stage.result,
        data=tuple(key for key, each in sorted(artefacts.items()) if (each.source, each.version) in used),
        evaluation=_measures(stage),
        isolation=stage.isolation,
        started=stage.started,
        finished=stage.finished,
    )


def _measures(stage: StageRecord) -> tuple[Measure, ...]:
    scores = [
        Measure(name=f"held-out {each.language}", value=each.after, unit="bits per byte")
        for each in stage.evaluation.languages
    ]
    exposure = [each.exposure_bits for each in stage.evaluation.canaries]
    return (
        (*scores, Measure(name="highest canary exposure", value=max(exposure), unit="bits")) if exposure else (*scores,)
    )


def _artefacts(build: Path, record: BuildRecord) -> dict[str, Artefact]:
    """Every data set of the stages by its id; those that were signed before keep theirs. Raises StateError."""
    path = build / ARTEFACTS_NAME
    data = read_file(path)
    try:
        kept = () if data is None else msgspec.json.decode(data, type=tuple[Artefact, ...])
    except msgspec.DecodeError:
        raise StateError(f"{path} is damaged: it holds the salts of what was signed before") from None
    if not all(map(is_what_it_says, kept)):
        raise StateError(f"{path} was changed: an id in it is not that of its data set")
    known = {(each.source, each.version): each for each in kept}
    found: dict[str, Artefact] = {}
    for used in (used for stage in record.accepted for used in stage.data):
        before = known.get((used.name, used.digest))
        salt = os.urandom(SALT_BYTES) if before is None else before.salt
        made = record_of(used, restrictions_of(used, NONE), owner=record.member, salt=salt)
        known[used.name, used.digest] = found[made.artifact_id] = made
    replace_file(path, [msgspec.json.encode(tuple(found.values()))], mode=_OWNER_ONLY)
    return found


def _state_of(checkpoint: Path) -> Path | None:
    """The state folder that a base lies in."""
    return next((folder for folder in (checkpoint, *checkpoint.parents) if (folder / CHARTER_NAME).is_file()), None)
