"""Nothing of a build gets into a shared model: not signed, not unsigned, not copied elsewhere, not as data."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from peers.build.record import DOMAIN_KEY, RECORD_NAME, SOVEREIGN, is_sovereign, write_record
from peers.cli.app import app
from swarm.errors import UnlabelledDataError
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
