"""Signs where a model comes from: a run's Shared Base, from a state folder.

The statement says nothing that was not checked right before: records are walked from the charter, means and checkpoints
replayed as far as they are here, and the model's weights compared with the base bit for bit.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from peers.ecosystem.tokenizer import has_tokenizer
from peers.lineage import dsse, statement
from peers.lineage.code import code
from peers.lineage.history import base_at, last_record, read_run, require_state, spans_of, walk
from peers.lineage.measured import voted
from peers.lineage.replay import replay
from peers.lineage.sources import data_of, privacy_of
from peers.lineage.statement import STATE_DIGEST, Lineage, Measure, Parent, Statement
from peers.lineage.subjects import STATEMENT_NAME, subjects_of
from peers.lineage.weights import is_base, write_model
from swarm.errors import LineageError
from swarm.identity.key import Identity
from swarm.sovereignty.entry import Tier
from swarm.state.chain import Mark
from swarm.state.disk import replace_file
from swarm.state.run import Run
from swarm.state.shared_base import EXPORT, set_aside

Measuring = Callable[[Run, np.ndarray, Path], tuple[Measure, ...]]
"""Scores a base, float32 [N], that lies in a model folder."""


@dataclass(frozen=True)
class Signed:
    """What was signed, and where it lies."""

    file: Path
    statement: Statement


def sign_state(
    state: Path,
    identity: Identity,
    *,
    tier: Tier,
    at: float,
    folder: Path | None = None,
    measure: Measuring | None = None,
) -> Signed:
    """Signs the Shared Base at a state folder's head; it is written as a model folder first, if that is not there.

    The model folder is the state folder's own if none is named; `at` is in Unix seconds; `measure` scores the base.

    Raises:
        UsageError: this is no state folder.
        LineageError: the chain is broken, or nothing here leads to its last state.
        ModelError: the charter names a tokenizer, and the state folder does not hold it.
        StateError: a file cannot be read or written.
    """
    run = read_run(require_state(state), None)
    steps = list(walk(run, state, last_record(state)))
    mark = steps[-1].after if steps else Mark.genesis(run)
    base_N = replay(run, state, steps).base_N
    if base_N is None:
        raise LineageError(
            f"no checkpoint and no means in {state} lead to round {mark.round}, the last on record: "
            "start the peer once, and it fetches them"
        )
    folder = folder or state / EXPORT
    if not _is_written(run, base_N, folder):
        _write(run, base_N, state, folder)
    measured = () if measure is None else measure(run, base_N, folder)
    lineage = Lineage(
        kind="shared-base",
        made_at=at,
        tier=tier,
        parents=(state_zero_of(run),),
        base=base_at(run, mark),
        rounds=spans_of(step.decided for step in steps),
        data=data_of(state, tier),
        privacy=privacy_of(run, state),
        evaluation=(*voted(run, steps), *measured),
        code=code(),
    )
    statement.check_rules(lineage)
    statement.check_private_data(lineage, run)
    return write_statement(folder, lineage, identity)


def state_zero_of(run: Run) -> Parent:
    """What every Shared Base of a run descends from."""
    return Parent(
        relation="shared-base",
        domain="shared",
        name=f"state 0 of run {run.charter.run.name}",
        digest={STATE_DIGEST: run.genesis.charter.model.state_digest},
    )


def write_statement(folder: Path, lineage: Lineage, identity: Identity) -> Signed:
    """Signs a model folder as it lies, beside its files. Raises LineageError, UsageError or StateError."""
    made = Statement(subject=subjects_of(folder), predicate=lineage)
    file = folder / STATEMENT_NAME
    replace_file(file, [dsse.seal(statement.encode(made), identity)])
    return Signed(file, made)


def _is_written(run: Run, base_N: np.ndarray, folder: Path) -> bool:
    """Whether a model folder is this base, with the tokenizer if the charter names one."""
    return folder.is_dir() and is_base(folder, base_N) and has_tokenizer(folder, run.charter.model.tokenizer_digest)


def _write(run: Run, base_N: np.ndarray, state: Path, folder: Path) -> None:
    """In the place of an older model folder, which is set aside once the new one is whole."""
    beside = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    write_model(run, base_N, state, beside)
    set_aside(folder)
    beside.rename(folder)
