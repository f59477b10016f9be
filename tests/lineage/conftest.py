"""One played state folder for all tests here; each gets a copy of its own."""

import shutil
from pathlib import Path

import pytest

from tests.lineage.folders import ME, make_state


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("played") / "state"
    make_state(state)
    return state


@pytest.fixture
def state(played: Path, tmp_path: Path) -> Path:
    """A state folder of five rounds with all means, state 0 and no other checkpoint."""
    return Path(shutil.copytree(played, tmp_path / "state"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The peer's key file."""
    file = tmp_path / "peer.key"
    ME.save(file)
    return file
