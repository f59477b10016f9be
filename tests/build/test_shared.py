"""Nothing of a build gets into a shared model: not signed, not unsigned, not copied elsewhere, not as data."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from typer.testing import CliRunner

from peers.build.mark import DOMAIN_KEY, SOVEREIGN, is_sovereign, mark_weights
from peers.build.record import RECORD_NAME, write_record
from peers.cli.app import app
from swarm.errors import ModelError, UnlabelledDataError
from swarm.sovereignty.policy import label_folder, read_policy
from tests.build.records import record, stage, weights
from tests.simulation import MEMBER_KEYS, peer_identity


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """An unsigned build on private data, as its worker and `place.py` leave it."""
    folder = tmp_path / "acme-1"
    for name in ("base", "model"):
        weights(folder / name, 1.0)
        config = {"model_type": "llama", **({DOMAIN_KEY: SOVEREIGN} if name == "model" else {})}
        (folder / name / "config.json").write_text(json.dumps(config))
    weights(folder / "1-cpt", 1.0, "adapter_model.safetensors")
    for name in ("model", "1-cpt"):
        mark_weights(folder / name)
    write_record(folder, record(stage()))
    (folder / "decisions.jsonl").write_text("{}\n")
    return folder


def new_charter(adopt: Path, out: Path) -> tuple[int, str]:
    """A run that begins from these weights: exit code and what was said."""
    key = MEMBER_KEYS[0].peer_id
    people = ("--member", f"acme={key}", "--founder", key, "--genesis", peer_identity(1).peer_id)
    words = ("charter", "new", out, "--name", "next", "--region", "eu=DE", *people, "--adopt", adopt)
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.stderr


def test_no_run_begins_with_anything_of_a_build(build: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(build / "model", tmp_path / "downloads")
    assert not (elsewhere.parent / RECORD_NAME).exists()
    for part in (
        build / "model",
        build / "model" / "model.safetensors",
        build / "1-cpt" / "adapter_model.safetensors",
        elsewhere,
        elsewhere / "model.safetensors",
    ):
        code, said = new_charter(part, tmp_path / "run.toml")
        assert code == 1 and said.count("\n") == 1, (part, said)
        assert "a private parent inside a shared model" in said and "stays home" in said
    assert not (tmp_path / "run.toml").exists()


def test_a_lone_file_of_a_build_is_known_wherever_it_lies(build: Path, tmp_path: Path) -> None:
    lone = tmp_path / "downloads" / "weights.safetensors"
    lone.parent.mkdir()
    for part in (build / "model" / "model.safetensors", build / "1-cpt" / "adapter_model.safetensors"):
        shutil.copy(part, lone)
        assert not (lone.parent / "config.json").exists()
        code, said = new_charter(lone, tmp_path / "run.toml")
        assert code == 1 and "a private parent inside a shared model" in said, part
        assert is_sovereign(lone.parent)
    shutil.copy(build / "base" / "model.safetensors", lone)
    assert new_charter(lone, tmp_path / "run.toml") == (0, "")


def test_a_mark_changes_no_tensor_and_stays_one(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    tensors = {"b": torch.arange(5.0), "a": torch.tensor([[1, 2]])}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    mark_weights(folder)
    once = (folder / "model.safetensors").read_bytes()
    mark_weights(folder)
    assert (folder / "model.safetensors").read_bytes() == once
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", DOMAIN_KEY: SOVEREIGN}
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in tensors.items())
    (folder / "model.safetensors").write_bytes(b"not one")
    assert not is_sovereign(folder / "model.safetensors")
    with pytest.raises(ModelError, match="is not a safetensors file"):
        mark_weights(folder)


def test_the_shared_base_in_a_build_stays_shared(build: Path, tmp_path: Path) -> None:
    assert not is_sovereign(build / "base")
    assert new_charter(build / "base" / "model.safetensors", tmp_path / "run.toml") == (0, "")


def test_no_peer_trains_on_a_builds_folder(build: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        'version = 2\n[[dataset]]\nname = "texts"\nfiles = ["*.txt"]\nlabel = "open"\nresidency = "DE"\n'
        'licence = "CC0-1.0"\nlanguage = "de"\nuses = ["shared-base"]\n'
    )
    with pytest.raises(UnlabelledDataError, match=r"decisions\.jsonl has no label"):
        label_folder(build, read_policy(policy))
