"""A recipe: the stages of a build in order, as TOML; and what a stage of it asks for. Pure but for reading the file.

version = 1

[[stage]]
stage = "cpt"                   # cpt | sft | dpo
data = ["parliament debates"]   # data sets of the policy file, by name
method = "lora"                 # lora | full
steps = 200                     # ... and the other settings of peers.build.record.Settings

[gate]                          # peers.build.record.Limits
[canaries]                      # peers.build.record.Canaries
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from peers.build.record import Canaries, Limits, Method, Settings, StageName
from swarm.errors import DataError, UsageError
from swarm.state.disk import read_file

MAX_RECIPE_BYTES = 262_144
_AT_LEAST_ONE = (
    *("steps", "batch_size", "checkpoint_steps", "lora_rank", "lora_alpha", "count", "insertions", "alternatives"),
    *("learning_rate", "beta", "retention_factor", "max_exposure_bits"),
)
"""Above zero, to be exact: the last four are no whole numbers."""
_MIN_SEQUENCE = 64
"""Shorter ones hold no canary in any form; what the form at hand takes is seen with the tokenizer (`training.py`)."""


@dataclass(frozen=True)
class Asked:
    """One stage, as it was asked for."""

    name: StageName
    data: tuple[str, ...]
    method: Method
    settings: Settings
    canaries: Canaries
    limits: Limits


class _StageTable(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    stage: StageName
    data: tuple[str, ...]
    method: Method = "lora"


class _RecipeFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Literal[1]
    stage: tuple[_StageTable, ...]
    gate: Limits = Limits()
    canaries: Canaries = Canaries()


def read_recipe(path: Path) -> tuple[Asked, ...]:
    """The stages of a recipe file.

    Raises:
        UsageError: nothing lies at `path`.
        StateError: it cannot be read.
        DataError: not TOML, or a key that is missing, unknown or wrong (and which).
    """
    data = read_file(path)
    if data is None:
        raise UsageError(f"recipe {path} does not exist")
    if len(data) > MAX_RECIPE_BYTES:
        raise DataError(f"recipe {path} is longer than {MAX_RECIPE_BYTES} bytes")
    try:
        file = msgspec.toml.decode(data, type=_RecipeFile)
    except msgspec.ValidationError as error:
        raise DataError(f"recipe {path}: {str(error).replace('$.', '')}") from None
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise DataError(f"recipe {path} is not TOML: {error}") from None
    if not file.stage:
        raise DataError(f"recipe {path} has no [[stage]]")
    stages = tuple(
        Asked(table.stage, table.data, table.method, _settings_of(table), file.canaries, file.gate)
        for table in file.stage
    )
    for asked in stages:
        check_asked(asked, f"recipe {path}")
    return stages


def check_asked(asked: Asked, origin: str) -> None:
    """Raises DataError for a number that makes no sense."""
    for part in (asked.settings, asked.canaries, asked.limits):
        values: dict[str, Any] = msgspec.to_builtins(part)
        for key, value in values.items():
            if not math.isfinite(value) or value < 0 or (key in _AT_LEAST_ONE and value == 0):
                raise DataError(f"{origin}: {key} is {value}, expected a number above 0")
    if asked.settings.sequence_length < _MIN_SEQUENCE:
        raise DataError(f"{origin}: sequence_length is {asked.settings.sequence_length}, at least {_MIN_SEQUENCE}")
    seen, planted = asked.settings.steps * asked.settings.batch_size, asked.canaries.count * asked.canaries.insertions
    if seen < planted:
        raise DataError(f"{origin}: the stage {asked.name} sees {seen} sequences, too few for {planted} canaries")
    most_bits = math.log2(asked.canaries.alternatives + 1)
    if asked.limits.max_exposure_bits >= most_bits:
        raise DataError(
            f"{origin}: {asked.canaries.alternatives} alternatives show an exposure of {most_bits:.1f} bits at most: "
            f"max_exposure_bits {asked.limits.max_exposure_bits:g} would refuse nothing"
        )
    if not asked.data:
        raise DataError(f"{origin}: the stage {asked.name} names no data set of the policy")


def _settings_of(table: _StageTable) -> Settings:
    return Settings(**{name: getattr(table, name) for name in Settings.__struct_fields__})
