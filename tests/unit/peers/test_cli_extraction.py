"""`tapestry audit canaries` and `audit extraction` as a person types them, on a real, tiny checkpoint."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from peers.cli.app import app
from peers.extraction import read_canaries
from peers.model import build
from tests.integration.papers import MODEL


def tapestry(*words: object, code: int = 0) -> tuple[str, str]:
    """Runs a command; its stdout and stderr."""
    result = CliRunner().invoke(app, ["audit", *map(str, words)])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    build(json.dumps({**MODEL, "max_position_embeddings": 128}), seed=1).save_pretrained(folder)
    return folder


def test_canaries_are_made_planted_and_measured(checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "canaries.json"
    lines = tapestry("canaries", "--out", file, "--count", 4)[0].splitlines()
    assert lines == [canary.text for canary in read_canaries(file)]
    found = json.loads(
        tapestry(
            *("extraction", checkpoint, "--canaries", file, "--references", 63, "--threshold-bits", 0.001),
            "--json",
            code=1,
        )[0]
    )
    # An untrained model ranks at random: at a threshold next to nothing it passes only if it ranks all four last.
    assert found["passed"] is False and [0 <= one["bits"] <= 6 for one in found["exposures"]] == [True] * 4
    secrets = [canary.secret for canary in read_canaries(file)]
    assert not any(secret in json.dumps(found) for secret in secrets)


def test_wrong_words_and_wrong_files_are_told_apart(checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "canaries.json"
    assert "does not exist" in tapestry("extraction", checkpoint, "--canaries", file, code=2)[1]
    tapestry("canaries", "--out", file)
    assert "not overwritten" in tapestry("canaries", "--out", file, code=2)[1]
    assert "does not exist" in tapestry("extraction", tmp_path / "none", "--canaries", file, code=2)[1]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "cannot be loaded" in tapestry("extraction", empty, "--canaries", file, code=1)[1]
    (tmp_path / "bad.json").write_text("{}")
    assert "no canary file" in tapestry("extraction", checkpoint, "--canaries", tmp_path / "bad.json", code=1)[1]
    low = ("extraction", checkpoint, "--canaries", file, "--references", 63)
    assert "never be reached" in tapestry(*low, code=2)[1]
