"""One played state folder for all tests here; members' folders are each test's own."""

from pathlib import Path

import pytest

from tests.build.ground import Member, make_state


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A peer's state folder; no test may change it."""
    folder = tmp_path_factory.mktemp("played") / "state"
    make_state(folder)
    return folder


@pytest.fixture
def member(tmp_path: Path) -> Member:
    return Member(tmp_path / "data")
