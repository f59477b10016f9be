"""The base of a build: verified from the charter's signatures on, or refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from peers.build.base import verify_base, write_base
from peers.build.weights import refuse_pickles, require_digest, weights_digest
from peers.lineage.weights import is_base
from swarm.errors import LineageError, ModelError, StateError, UsageError
from tests.build.ground import LONGEST, ROUNDS
from tests.build.records import weights


@pytest.fixture
def own(state: Path, tmp_path: Path) -> Path:
    """A state folder that may be changed."""
    return Path(shutil.copytree(state, tmp_path / "state"))


def test_each_round_on_record_is_a_base(state: Path, tmp_path: Path) -> None:
    bases = [verify_base(state, number) for number in range(ROUNDS + 1)]
    assert [base.mark.round for base in bases] == [0, 1, 2]
    assert len({base.base_N.tobytes() for base in bases}) == ROUNDS + 1
    assert verify_base(state, None).mark == bases[-1].mark
    digest = write_base(bases[-1], tmp_path / "base")
    assert digest == weights_digest(tmp_path / "base") and is_base(tmp_path / "base", bases[-1].base_N)
    assert json.loads((tmp_path / "base" / "config.json").read_text())["max_position_embeddings"] == LONGEST


def test_weights_that_nothing_proves_are_refused(state: Path, own: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        verify_base(tmp_path / "none", None)
    with pytest.raises(StateError, match="is not verified: nothing there proves"):
        verify_base(weights(tmp_path / "found", 1.0), None)
    with pytest.raises(StateError, match=r"the records in .* end at round 2"):
        verify_base(state, ROUNDS + 1)
    export = own / "shared-base"
    write_base(verify_base(own, None), export)
    assert verify_base(export, None).mark.round == ROUNDS
    with pytest.raises(ModelError, match="are not the Shared Base of round 1"):
        verify_base(export, 1)
    tensors = load_file(export / "model.safetensors")
    tensors["model.norm.weight"] += np.float32(1e-7)
    save_file(tensors, export / "model.safetensors")
    with pytest.raises(ModelError, match="are not the Shared Base of round 2"):
        verify_base(export, None)


def test_a_checkpoint_with_pickle_files_is_refused(own: Path) -> None:
    export = own / "shared-base"
    write_base(verify_base(own, None), export)
    for name in ("pytorch_model.bin", "optimizer.PT", "model.pkl", "onnx/model.Bin"):
        (export / name).parent.mkdir(exist_ok=True)
        (export / name).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
        with pytest.raises(ModelError, match=r"is a pickle file, which can run code .* safetensors only"):
            verify_base(export, None)
        with pytest.raises(ModelError, match="is a pickle file"):
            require_digest(export, weights_digest(export))
        (export / name).unlink()
    refuse_pickles(export)


def test_records_that_were_changed_prove_nothing(own: Path) -> None:
    path = own / "records" / "000000002"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert verify_base(own, 1).mark.round == 1
    with pytest.raises(LineageError, match="round 2"):
        verify_base(own, None)
    path.unlink()
    (own / "records" / "000000001").unlink()
    with pytest.raises(StateError, match="end at round 0"):
        verify_base(own, 1)


def test_a_round_without_means_or_checkpoint_cannot_be_built_on(own: Path) -> None:
    shutil.rmtree(own / "results")
    with pytest.raises(StateError, match=r"no checkpoint in .* leads to round 2"):
        verify_base(own, None)


def test_weights_on_record_are_looked_at_again(tmp_path: Path) -> None:
    folder = weights(tmp_path / "model", 1.0)
    digest = weights_digest(folder)
    require_digest(folder, digest)
    with pytest.raises(ModelError, match="are not those on record"):
        require_digest(weights(tmp_path / "other", 2.0), digest)
    with pytest.raises(ModelError, match="holds no safetensors file"):
        weights_digest(tmp_path)
