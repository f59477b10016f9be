"""Checks a model's statement: alone, and down to the charter with the records of a state folder.

    signature      the envelope is what its author signed
    rules          no private parent in a shared model, no missing parent, no unlabelled data
    files          the folder holds exactly the files that were signed
    records        with --state: charter by run id and founders, each record by its quorum, roster and weights as stated
    means          with --state: replayed as far as they are held, to the last bit
    votes          with --state: what members voted on the base, as the record has it
    parents        with --state: every Shared Base that is named is one of the chain, or said to be in it no more
    weights        with --state: the model's own bits, or of a build its base's, against the base they are said to be

Whatever does not hold is a LineageError with its cause. What could not be looked at is said in the verdict's coverage.
"""

from dataclasses import dataclass
from pathlib import Path

from peers.build.mark import is_sovereign
from peers.build.record import BASE_FOLDER, MODEL_FOLDER
from peers.build.weights import require_digest
from peers.lineage import statement
from peers.lineage.dsse import read_envelope
from peers.lineage.history import Step, base_at, check_parents, last_record, read_run, require_state, spans_of, walk
from peers.lineage.measured import check_voted
from peers.lineage.replay import Replayed, replay
from peers.lineage.statement import Lineage, Statement
from peers.lineage.subjects import STATEMENT_NAME, check_folder
from peers.lineage.weights import is_base
from swarm.errors import LineageError, ModelError, UsageError
from swarm.identity.peer_id import PeerId
from swarm.state.chain import Mark
from swarm.state.run import Run
from swarm.state.shared_base import EXPORT


@dataclass(frozen=True)
class Coverage:
    """What was looked at, of what there is."""

    files: int
    """Checked; 0 where the statement came alone."""
    records: int
    rounds: int
    means: int
    weights: bool
    """Whether the model's own weights, or those in a build's base folder, were found to be the base."""

    @property
    def text(self) -> str:
        """But for the weights."""
        return (
            f"files {self.files or 'not at hand'}; records {self.records} of {self.rounds} rounds; "
            f"means replayed {self.means} of {self.rounds}"
        )


@dataclass(frozen=True)
class Verdict:
    """What a check has found; whoever gets one may believe the statement as far as the coverage goes."""

    statement: Statement
    signer: PeerId
    signer_is: str
    """How the chain knows the signer."""
    coverage: Coverage

    @property
    def text(self) -> str:
        lineage = self.statement.predicate
        is_base = lineage.kind == "shared-base"
        gone = [parent for parent in lineage.parents if parent.relation == "withdrawn"]
        what = "Shared Base" if is_base else "Sovereign Build on the Shared Base"
        weights = "weights not compared with the base"
        if self.coverage.weights:
            weights = "the weights are the base, bit for bit" if is_base else "it began from the base, bit for bit"
        return (
            f"verified: {what} of round {lineage.base.round}, run {lineage.base.run_id}\n"
            f"signed by {self.signer} ({self.signer_is})\n{self.coverage.text}; {weights}"
            + "".join(f"\nby the signer's word alone: {parent.name}" for parent in gone)
        )


def find_statement(path: Path) -> tuple[Path, Path | None]:
    """The statement's file, and the model folder it lies in, if it does. UsageError when there is none.

    A model folder, a build, a state folder, or the statement itself may be given.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist")
    if not path.is_dir():
        return path, path.parent if path.name == STATEMENT_NAME else None
    for folder in (path, path / MODEL_FOLDER, path / EXPORT):
        if (folder / STATEMENT_NAME).is_file():
            return folder / STATEMENT_NAME, folder
    raise UsageError(f"{path} holds no {STATEMENT_NAME}: make one with `tapestry lineage sign`")


def read_statement(file: Path) -> tuple[PeerId, Statement]:
    """Signer and statement, signature and rules checked. Raises UsageError or LineageError."""
    signer, payload = read_envelope(file)
    found = statement.decode(payload, str(file))
    statement.check_rules(found.predicate)
    return signer, found


def require_shareable(weights: Path) -> None:
    """Refuses a member's own model, a folder or one file of it, as the beginning of a shared one, signed or not.

    Raises:
        LineageError: it is a Sovereign Build, or its statement does not hold.
    """
    file = (weights if weights.is_dir() else weights.parent) / STATEMENT_NAME
    is_signed_as_own = file.is_file() and read_statement(file)[1].predicate.domain != "shared"
    if is_signed_as_own or is_sovereign(weights):
        raise LineageError(f"a private parent inside a shared model: {weights} is a Sovereign Build, which stays home")


def verify(path: Path, state: Path | None, expected_run_id: str | None, zero: Path | None = None) -> Verdict:
    """Checks a statement, and the model beside it; `zero` is the charter's state 0 file, to replay from.

    Raises:
        UsageError: a path does not exist, or holds no statement.
        LineageError: something does not hold.
    """
    file, folder = find_statement(path)
    signer, found = read_statement(file)
    lineage = found.predicate
    if expected_run_id is not None and lineage.base.run_id != expected_run_id:
        raise LineageError(f"{file} is about run {lineage.base.run_id}, not {expected_run_id}")
    if folder is not None:
        check_folder(folder, found.subject)
    files = 0 if folder is None else len(found.subject)
    if state is None:
        coverage = Coverage(files, 0, lineage.base.round, 0, False)
        return Verdict(found, signer, "not known without the records: give --state", coverage)
    run = read_run(require_state(state), lineage.base.run_id)
    steps, replayed = walk_base(run, state, lineage, zero)
    statement.check_private_data(lineage, run)
    weights = _weights(lineage, folder, replayed)
    coverage = Coverage(files, len(steps), lineage.base.round, replayed.rounds, weights)
    return Verdict(found, signer, role_of(signer, run, steps), coverage)


def walk_base(run: Run, state: Path, lineage: Lineage, zero: Path | None) -> tuple[list[Step], Replayed]:
    """The rounds below a statement's base, verified and replayed. Raises LineageError."""
    base = lineage.base
    if last_record(state) < base.round:
        raise LineageError(
            f"a missing parent: the records in {state} end at round {last_record(state)}, the base is of {base.round}"
        )
    steps = list(walk(run, state, base.round))
    mark = steps[-1].after if steps else Mark.genesis(run)
    if base_at(run, mark) != base:
        raise LineageError(f"the base is not the state of round {base.round} in the chain of {state}")
    if spans_of(step.decided for step in steps) != lineage.rounds:
        raise LineageError("rosters or weights in the statement are not those of the commit records")
    if lineage.kind == "shared-base":
        if lineage.parents[0].digest.get(statement.STATE_DIGEST) != _zero(run):
            raise LineageError("a missing parent: the statement descends from another state 0 than the charter's")
        check_voted(run, steps, lineage.evaluation)
    check_parents(run, steps, lineage.parents)
    return steps, replay(run, state, steps, zero)


def role_of(signer: PeerId, run: Run, steps: list[Step]) -> str:
    """How a verified chain knows a peer."""
    rounds = sum(signer in step.decided.roster.index for step in steps)
    if rounds:
        return f"in the roster of {rounds} of {len(steps)} rounds"
    if signer in (*run.genesis.charter.genesis.peers, *run.genesis.charter.genesis.witnesses):
        return "named by the charter"
    return "in no roster up to this round"


def _weights(lineage: Lineage, folder: Path | None, replayed: Replayed) -> bool:
    if folder is None:
        return False
    if lineage.kind == "build":
        folder = folder.parent / BASE_FOLDER  # it lies beside the model, where a whole build is at hand
        if not folder.is_dir():
            return False
        try:
            require_digest(folder, lineage.parents[0].digest.get(statement.WEIGHTS_DIGEST, ""))
        except ModelError as error:
            raise LineageError(str(error)) from None
    if replayed.base_N is None:
        return False
    if not is_base(folder, replayed.base_N):
        raise LineageError(f"the weights in {folder} are not the base of round {lineage.base.round}")
    return True


def _zero(run: Run) -> str:
    return run.genesis.charter.model.state_digest
