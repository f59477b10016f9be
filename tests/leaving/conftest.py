"""A bundle of a played peer, made once."""

from pathlib import Path

import pytest

from peers.leaving.write import Extras, write_bundle
from tests.lineage.folders import ME, make_state


@pytest.fixture(scope="session")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small state folder `state` of two rounds and its bundle `bundle.tar`."""
    folder = tmp_path_factory.mktemp("left")
    make_state(folder / "state", rounds=2, elements=600)
    write_bundle(folder / "state", folder / "bundle.tar", ME, Extras(), at=1_750_000_000.0)
    return folder
