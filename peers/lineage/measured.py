"""What is known of how good a Shared Base is: members' votes on it, from the record, and held-out text of the signer's.

The votes are part of the chain, so a verifier counts them again. What the signer measures is its own word; only data
whose policy labels it for evaluation, and neither for training nor as private, is scored, 64 KiB for each language.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from peers.lineage.history import Step
from peers.lineage.statement import Measure
from swarm.charter.manifest import NoFloor
from swarm.errors import DataError, LineageError, UsageError
from swarm.net import wire
from swarm.sovereignty.labels import Label
from swarm.sovereignty.policy import Dataset, find_policy, label_folder, read_policy
from swarm.sovereignty.uses import Privacy, Use
from swarm.state.quality import tally_of
from swarm.state.run import Run

ACCEPTING = "members that accepted it on held-out data of their own"
REJECTING = "members that rejected it on held-out data of their own"
CHANGE = "change of the held-out loss, median of what members told"
_VOTED = (ACCEPTING, REJECTING, CHANGE)


def voted(run: Run, steps: Sequence[Step]) -> tuple[Measure, ...]:
    """Members' votes on the base that these rounds lead to; nothing where the charter asks for none."""
    taken = next((step.decided for step in reversed(steps) if not step.decided.value.is_rejected), None)
    if taken is None or not taken.value.candidate:
        return ()
    value, then = taken.value, run.under(taken.rules or run.genesis.rules)
    if isinstance(then.charter.quality, NoFloor):
        return ()
    votes = tally_of(then, taken.roster, value.quality, base=value.base_digest, candidate=value.candidate)
    told = [wire.unseal(sealed, wire.QualityVote).change_percent for sealed in value.quality]
    changes = [change for change in told if change is not None]
    found = [
        Measure(name=ACCEPTING, value=float(votes.accepting)),
        Measure(name=REJECTING, value=float(votes.rejecting)),
    ]
    return (*found, Measure(name=CHANGE, value=float(median(changes)), unit="per cent")) if changes else tuple(found)


def check_voted(run: Run, steps: Sequence[Step], evaluation: Sequence[Measure]) -> None:
    """Whether a statement says of the votes what the record does. Raises LineageError."""
    if tuple(measure for measure in evaluation if measure.name in _VOTED) != voted(run, steps):
        raise LineageError("members' votes on the base in the statement are not those of the commit record")


def held_out(run: Run, base_N: np.ndarray, tokenizer: Path, *, data: Path, policy: Path | None) -> tuple[Measure, ...]:
    """Bits per byte of a base on held-out text of a labelled data folder, by language.

    Args:
        tokenizer: the folder with the run's tokenizer; not looked at where tokens are bytes.

    Raises:
        UsageError: no such folder or policy, nothing in it to score on, or members bring the model themselves.
        DataError, PolicyError, UnlabelledDataError: data or policy cannot be used.
        ModelError: the tokenizer is not that of the run.
    """
    from peers.ecosystem.reading import read_as
    from peers.ecosystem.rows import as_text
    from peers.model import build, load_vector

    if not run.charter.model.config_json:
        raise UsageError("this run's members bring the model themselves: nobody here can score it")
    files = [file for file in label_folder(data, read_policy(find_policy(data, policy))) if _is_for_this(file.dataset)]
    if not files:
        raise UsageError(f"{data} has no data for evaluation alone: nothing to score on")
    model = build(run.charter.model.config_json)
    load_vector(model, base_N)
    reading = read_as(run.charter.model, model.config, str(tokenizer) if run.charter.model.tokenizer_digest else "")
    found: list[Measure] = []
    with TemporaryDirectory() as scratch:
        for language in sorted({file.dataset.language for file in files}):
            fields = {str(file.path): file.dataset.field for file in files}
            paths = [file.path for file in files if file.dataset.language == language]
            scorer = reading.scorer(as_text(paths, fields, Path(scratch)), run.charter.training.sequence_length)
            bits = math.nan if scorer is None else scorer(model)
            if not math.isfinite(bits):
                raise DataError(f"the model gives no finite score on held-out text in {language!r}")
            found.append(Measure(name=f"held-out {language}", value=bits, unit="bits per byte"))
    return tuple(found)


def _is_for_this(dataset: Dataset) -> bool:
    is_held_out = Use.EVALUATION in dataset.uses and Use.SHARED_BASE not in dataset.uses
    return is_held_out and dataset.label is not Label.PRIVATE and dataset.privacy is Privacy.LICENCE
