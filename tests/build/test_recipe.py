"""Recipes: what is asked for, and a sentence for everything that makes no sense."""

from pathlib import Path

import pytest

from peers.build.recipe import Asked, read_recipe
from peers.build.record import Canaries, Limits, Settings
from swarm.errors import DataError, UsageError

WHOLE = """version = 1

[[stage]]
stage = "cpt"
data = ["notes"]
steps = 20
learning_rate = 1e-4

[[stage]]
stage = "dpo"
data = ["choices", "more choices"]
method = "full"
beta = 0.3

[gate]
retention_factor = 1.5

[canaries]
count = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recipe.toml"


def test_a_recipe_is_its_stages_in_order(file: Path) -> None:
    file.write_text(WHOLE)
    canaries, limits = Canaries(count=3), Limits(retention_factor=1.5)
    assert read_recipe(file) == (
        Asked("cpt", ("notes",), "lora", Settings(steps=20, learning_rate=1e-4), canaries, limits),
        Asked("dpo", ("choices", "more choices"), "full", Settings(beta=0.3), canaries, limits),
    )


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("version = 1", "version = 2", "version"),
        ('"cpt"', '"pretrain"', "pretrain"),
        ("steps = 20", "stepps = 20", "stepps"),
        ("steps = 20", "steps = 0", "steps is 0, expected a number above 0"),
        ("steps = 20", "steps = 20\nsequence_length = 63", "sequence_length is 63, at least 64"),
        ("learning_rate = 1e-4", "learning_rate = nan", "learning_rate is nan"),
        ("learning_rate = 1e-4", "learning_rate = -1.0", "learning_rate is -1.0"),
        ("beta = 0.3", "beta = inf", "beta is inf"),
        ("retention_factor = 1.5", "retention_factor = 0.0", "retention_factor is 0.0"),
        ("retention_factor = 1.5", "max_exposure_bits = 10.0", "would refuse nothing"),
        ("count = 3", "count = 161", "sees 160 sequences, too few for 161 canaries"),
        ("count = 3", "alternatives = 0", "alternatives is 0"),
        ('["notes"]', "[]", "names no data set"),
        ('data = ["notes"]\n', "", "data"),
        ("[[stage]]", "[[stage", "is not TOML"),
    ],
)
def test_what_makes_no_sense_is_named(file: Path, old: str, new: str, cause: str) -> None:
    file.write_text(WHOLE.replace(old, new, 1))
    with pytest.raises(DataError, match=r"recipe\.toml") as caught:
        read_recipe(file)
    assert cause in str(caught.value)


def test_a_recipe_that_is_not_there(file: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_recipe(file)
    file.write_text("version = 1\nstage = []\n")
    with pytest.raises(DataError, match="has no"):
        read_recipe(file)
