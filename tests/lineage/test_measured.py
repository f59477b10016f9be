"""What a signer measures of a Shared Base: held-out text, by language, and only what its policy has for that."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from peers.lineage.measured import held_out
from peers.model import initial_state
from swarm.charter.manifest import Model, Nesterov, Reduce
from swarm.errors import UsageError
from swarm.state.run import Run
from tests.integration.papers import MODEL
from tests.lineage.folders import write_policy
from tests.simulation import make_charter

_DATASET = """
[[dataset]]
name = "{name}"
files = ["{name}.txt"]
label = "{label}"
residency = "DE"
licence = "CC0-1.0"
language = "{language}"
uses = [{uses}]
"""


def labelled(folder: Path, *sets: tuple[str, str, str, str]) -> Path:
    """A data folder with a policy: name, label, language and uses of each data set."""
    folder.mkdir()
    for name, *_ in sets:
        (folder / f"{name}.txt").write_text(f"some words of {name} " * 40)
    tables = [
        _DATASET.format(name=name, label=label, language=language, uses=uses) for name, label, language, uses in sets
    ]
    write_policy(folder / "policy.toml", "version = 2\n" + "".join(tables))
    return folder


@pytest.fixture(scope="module")
def base() -> tuple[Run, np.ndarray]:
    """A run of a tiny byte model, and its state 0."""
    charter, config = make_charter(3), json.dumps(MODEL)
    state0 = initial_state(config, 0, Nesterov(), Reduce(chunk_elements=4096))
    model = Model(
        config_json=config,
        parameters=state0.parameters,
        schema_digest=state0.schema_digest,
        state_digest=state0.state_digest,
    )
    return Run(msgspec.structs.replace(charter, model=model)), state0.base


def test_every_language_that_is_for_evaluation_alone_is_scored(base: tuple[Run, np.ndarray], tmp_path: Path) -> None:
    run, base_N = base
    data = labelled(
        tmp_path / "data",
        ("german", "open", "de", '"evaluation"'),
        ("french", "controlled", "fr", '"evaluation", "sovereign-build"'),
        ("trained", "open", "es", '"evaluation", "shared-base"'),
        ("secret", "private", "it", '"evaluation"'),
    )
    found = held_out(run, base_N, tmp_path, data=data, policy=None)
    assert [(each.name, each.unit) for each in found] == [
        ("held-out de", "bits per byte"),
        ("held-out fr", "bits per byte"),
    ]
    assert all(7 < each.value < 9 for each in found), "an untrained model knows nothing"
    assert held_out(run, base_N, tmp_path, data=data, policy=None) == found


def test_without_anything_to_score_on_it_is_said(base: tuple[Run, np.ndarray], tmp_path: Path) -> None:
    run, base_N = base
    data = labelled(tmp_path / "data", ("trained", "open", "es", '"evaluation", "shared-base"'))
    with pytest.raises(UsageError, match="nothing to score on"):
        held_out(run, base_N, tmp_path, data=data, policy=None)
    with pytest.raises(UsageError, match="bring the model themselves"):
        held_out(Run(make_charter(3)), base_N, tmp_path, data=data, policy=None)
