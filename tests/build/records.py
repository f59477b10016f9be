"""Records of builds as text, for tests that need no model."""

from pathlib import Path

import msgspec
import numpy as np

from peers.build.record import (
    Base,
    BuildRecord,
    Canaries,
    CanaryScore,
    Evaluation,
    LanguageScore,
    Limits,
    Settings,
    Stage,
)
from swarm.sovereignty.artefacts import DataUsed
from swarm.sovereignty.labels import Label
from swarm.sovereignty.uses import Privacy, Use
from swarm.state.disk import replace_file
from swarm.state.tensors import safetensors_parts


def used(name: str, label: Label = Label.OPEN, **fields: object) -> DataUsed:
    data = DataUsed(
        name=name,
        label=label,
        residency="DE",
        licence="CC0-1.0",
        uses=(Use.SOVEREIGN_BUILD,),
        privacy=Privacy.LICENCE,
        digest=f"digest of {name}",
    )
    return msgspec.structs.replace(data, **fields)


def score(language: str, after: float, base: float = 3.0, *, is_own: bool = False) -> LanguageScore:
    return LanguageScore(language=language, is_own=is_own, base=base, before=base, after=after, scored_bytes=100)


def exposed(bits: float) -> CanaryScore:
    return CanaryScore(rank=1, alternatives=1023, exposure_bits=bits)


GOOD = Evaluation(languages=(score("de", 2.5, is_own=True), score("fr", 3.1)), canaries=(exposed(1.0), exposed(2.0)))


def stage(n: int = 1, parent: str = "base", **fields: object) -> Stage:
    """An accepted one."""
    made = Stage(
        n=n,
        name="cpt",
        method="lora",
        data=(used("notes"),),
        settings=Settings(),
        canaries=Canaries(),
        parent=parent,
        result=f"result {n}",
        folder=f"{n}-cpt",
        evaluation=GOOD,
        limits=Limits(),
        verdict="accepted",
        reasons=(),
        decision="permit",
        isolation="confined",
        final_loss=1.0,
        started=1.0,
        finished=2.0,
    )
    return msgspec.structs.replace(made, **fields)


def record(*stages: Stage, **fields: object) -> BuildRecord:
    base = Base(run_id="11" * 32, round=2, record="22" * 32, state="33" * 32, checkpoint="state", weights="base")
    made = BuildRecord(
        code="0",
        created=0.0,
        base=base,
        member="acme",
        jurisdiction="DE",
        data_folder="data",
        policy="policy.toml",
        policy_digest="ab" * 32,
        stages=stages,
    )
    return msgspec.structs.replace(made, **fields)


def weights(folder: Path, value: float, name: str = "model.safetensors") -> Path:
    """A folder with one small safetensors file."""
    folder.mkdir(parents=True)
    replace_file(folder / name, safetensors_parts({"w": np.full(4, value, np.float32)}))
    return folder
