"""Fixtures: one small checkpoint folder for all tests, and a copy of it to spoil."""

import shutil
from pathlib import Path

import pytest

from tests.ecosystem.checkpoints import make_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read it, never write it."""
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "model")


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))
