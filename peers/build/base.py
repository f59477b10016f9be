"""The Shared Base a build begins with: verified from the charter's signatures on, then written as a model folder.

What is not verified is not built on. A state folder proves its base by its records and checkpoints; a folder of weights
alone proves nothing, and is taken only where it lies in a state folder and holds exactly the base that this proves.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from peers.build.weights import refuse_pickles, weights_digest
from peers.lineage.history import CHARTER_NAME, last_record, read_run, walk
from peers.lineage.replay import replay
from peers.lineage.weights import is_base, write_model
from swarm.errors import ModelError, StateError, UsageError
from swarm.state.chain import Mark
from swarm.state.run import Run
from swarm.state.shared_base import EXPORT

_LONGEST = ("max_position_embeddings", "n_positions")
"""What configs of `transformers` call how many tokens a model takes."""


@dataclass(frozen=True)
class Verified:
    """A Shared Base that the signed records of its run lead to."""

    run: Run
    mark: Mark
    base_N: np.ndarray
    """Float32 [N]."""
    state: Path
    """The state folder that proves it."""


def verify_base(source: Path, round_number: int | None) -> Verified:
    """The base of a state folder, or of the model folder in one, after a round (the last one on record if None).

    Raises:
        UsageError: nothing lies at `source`.
        StateError: no run's records are there, or nothing in them leads to the base of that round.
        LineageError: a charter, record or checkpoint is not what was signed.
        ModelError: pickle files, or weights that are not the base.
    """
    if not source.is_dir():
        raise UsageError(f"{source} does not exist, or is no folder")
    is_export = source.name == EXPORT and (source.parent / CHARTER_NAME).is_file()
    state = source.parent if is_export else source
    is_state = (state / CHARTER_NAME).is_file()
    if is_export or not is_state:  # in a state folder nothing is read as weights but what the records prove
        refuse_pickles(source)
    if not is_state:
        raise StateError(
            f"{source} is not verified: nothing there proves that a run has agreed on it. "
            "Give the state folder of a peer, which holds the charter and the signed records"
        )
    run = read_run(state, None)
    last = last_record(state)
    wanted = last if round_number is None else round_number
    if wanted > last:
        raise StateError(f"the records in {state} end at round {last}")
    steps = list(walk(run, state, wanted))
    mark = steps[-1].after if steps else Mark.genesis(run)
    base_N = replay(run, state, steps).base_N
    if base_N is None:
        raise StateError(f"no checkpoint in {state} leads to round {wanted}: take a later one, or another peer's")
    if is_export and not is_base(source, base_N):
        raise ModelError(f"the weights in {source} are not the Shared Base of round {wanted}: build on {state} instead")
    return Verified(run, mark, base_N, state)


def write_base(verified: Verified, folder: Path) -> str:
    """Makes the folder, with tokenizer; returns its `weights_digest`.

    Raises:
        ModelError: the charter has no `transformers` config, since its members bring the model themselves; or the
            tokenizer that it names is not in the state folder.
        StateError, OSError: it cannot be written.
    """
    from peers.build.tokens import write_tokenizer

    charter = verified.run.charter
    if not charter.model.config_json:
        raise ModelError("the run's charter has no model config, so transformers cannot load its base")
    write_model(verified.run, verified.base_N, verified.state, folder)
    if not charter.model.tokenizer_digest:
        write_tokenizer(folder, longest_of(folder) or charter.training.sequence_length)
    return weights_digest(folder)


def longest_of(folder: Path) -> int | None:
    """How many tokens the model in a folder takes, as far as its config says. Raises ModelError."""
    path = folder / "config.json"
    try:
        config = msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    return next((found for name in _LONGEST if isinstance(found := config.get(name), int)), None)
