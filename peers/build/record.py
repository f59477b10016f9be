"""BUILD/build.json: what a build was made from and how, stage by stage. Read by whoever signs, exports or leaves.

    BUILD/build.json          this record; rewritten in one step after everything that happens, once that is on disk
    BUILD/decisions.jsonl     what the policy allowed and refused, one decision a line
    BUILD/policies/           every policy that decided, by its digest, as it was written
    BUILD/base/               the verified Shared Base, as `transformers` loads it
    BUILD/<n>-<name>/         what stage n made: adapter_model.safetensors, or model.safetensors (`full`)
    BUILD/model/              the result, if every stage was accepted: weights, tokenizer, model card
    BUILD/work/               an unfinished or refused stage with its checkpoints; private to this machine

Only data and its file: nothing here judges, and nothing here knows torch. The model that a stage ends with is the base
with every accepted stage up to it applied in order, so `parent` and `result` digests chain the stages.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from swarm.errors import StateError, UsageError
from swarm.sovereignty.artefacts import DataUsed
from swarm.state.disk import read_file, replace_file, sync_folder, told

RECORD_NAME = "build.json"
DECISIONS_NAME = "decisions.jsonl"
MODEL_FOLDER, BASE_FOLDER, WORK_FOLDER = "model", "base", "work"
RECORD_VERSION = 1

StageName = Literal["cpt", "sft", "dpo"]
Method = Literal["full", "lora"]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the record."""


class Base(_Part, frozen=True, kw_only=True):
    """The Shared Base a build stands on, verified from the charter on when it was taken."""

    run_id: str
    """Hex."""
    round: int
    record: str
    """Hex digest of that round's commit record; empty for round 0, which the charter fixes."""
    state: str
    """Hex digest of base and outer-optimiser state, as in the record."""
    checkpoint: str
    """The state folder it was taken from."""
    weights: str
    """`weights_digest` of BUILD/base."""


class Settings(_Part, frozen=True, kw_only=True):
    """How a stage trains. Together with its data's digests it decides whether a stage is the one already done."""

    steps: int = 100
    """Optimiser steps."""
    batch_size: int = 8
    """Sequences (for `dpo`: pairs) per step."""
    sequence_length: int = 256
    """Tokens of a sequence; longer examples are cut."""
    learning_rate: float = 5e-4
    weight_decay: float = 0.0
    warmup_steps: int = 0
    checkpoint_steps: int = 50
    """Steps between two checkpoints: so many are done again at most after a crash."""
    seed: int = 0
    lora_rank: int = 16
    lora_alpha: int = 32
    beta: float = 0.1
    """Of DPO (arXiv 2305.18290): how far the preferences may pull the model from its parent."""


class Canaries(_Part, frozen=True, kw_only=True):
    """How memorisation is tested: random secrets put among the data, then ranked among others like them."""

    count: int = 2
    insertions: int = 1
    """Times each of them stands in the data."""
    alternatives: int = 1023
    """Random secrets it is ranked with; the most exposure that can be measured is log2(alternatives + 1) bits."""


class LanguageScore(_Part, frozen=True, kw_only=True):
    """Held-out bits per byte in one language; lower is better."""

    language: str
    is_own: bool
    """Whether some stage of the build trains on this language."""
    base: float
    """Of the Shared Base."""
    before: float
    """Of the model that the stage began with."""
    after: float
    scored_bytes: int


class CanaryScore(_Part, frozen=True, kw_only=True):
    """How much more likely the model holds one secret than others of its kind (Carlini et al., arXiv 1802.08232)."""

    rank: int
    """1 if no alternative is likelier."""
    alternatives: int
    exposure_bits: float
    """log2(alternatives + 1) - log2(rank): 1.4 on average where nothing was memorised."""


class Evaluation(_Part, frozen=True, kw_only=True):
    languages: tuple[LanguageScore, ...]
    canaries: tuple[CanaryScore, ...]


class Limits(_Part, frozen=True, kw_only=True):
    """What the gate demands. A result that is missing blocks, whatever the limits."""

    retention_factor: float = 1.25
    """Bits per byte in languages that are not the member's, at most so many times those of the Shared Base."""
    max_exposure_bits: float = 9.0


class Stage(_Part, frozen=True, kw_only=True):
    """A stage that has ended."""

    n: int
    name: StageName
    method: Method
    data: tuple[DataUsed, ...]
    settings: Settings
    canaries: Canaries
    parent: str
    """Digest of what it began with: `result` of the stage before, or the base's `weights`."""
    result: str
    """`weights_digest` of its folder."""
    folder: str
    """Below BUILD."""
    evaluation: Evaluation
    limits: Limits
    verdict: Literal["accepted", "refused"]
    reasons: tuple[str, ...]
    """Why the gate refused it; empty if it did not."""
    decision: str
    """The policy's decision on its data, as in decisions.jsonl."""
    isolation: str
    """Level reached by the process that trained it (`swarm.isolation.levels`), as it reports itself."""
    final_loss: float | None
    """Training loss of the last logged step, in nats per token; for `dpo` the preference loss. None if none was."""
    started: float
    """Unix seconds."""
    finished: float


class Result(_Part, frozen=True, kw_only=True):
    folder: str
    digest: str
    """`weights_digest` of that folder."""
    stage: int
    """The last stage in it."""


class Rebased(_Part, frozen=True, kw_only=True):
    """Where a build's stages were trained, if not on this base."""

    base: Base
    build: str
    """`result` digest of the build there."""
    scores: tuple[LanguageScore, ...]
    """`base`: the newer Shared Base; `before`: the model that was rebased; `after`: this one."""
    stages: int | None = None
    """How many were there, the first ones; later ones were trained where they are. None on records of before."""
    earlier: "Rebased | None" = None
    """Where the first of those came from in their turn, if not all of them were trained there."""


class BuildRecord(_Part, frozen=True, kw_only=True):
    version: Literal[1] = RECORD_VERSION
    code: str
    """Version of this software that wrote the record last."""
    created: float
    base: Base
    member: str
    """Whose build it is; empty if nobody has said."""
    jurisdiction: str
    """Where the machine stands; empty if nobody has said."""
    data_folder: str
    policy: str
    """Path of the policy file, which may change; BUILD/policies has it as it was."""
    policy_digest: str
    """Hex digest of the policy when the build began; each stage's decision names the one it went by."""
    stages: tuple[Stage, ...] = ()
    """In order. One that was refused is the last, and is replaced by the next attempt."""
    result: Result | None = None
    rebased: Rebased | None = None

    @property
    def accepted(self) -> tuple[Stage, ...]:
        return tuple(stage for stage in self.stages if stage.verdict == "accepted")

    @property
    def tip(self) -> str:
        """Digest of what the next stage begins with."""
        return self.accepted[-1].result if self.accepted else self.base.weights

    @property
    def moves(self) -> tuple[tuple[Rebased, tuple[Stage, ...]], ...]:
        """Where stages were trained that were put on another base since, each with those stages; in order."""
        places: list[Rebased] = []
        place = self.rebased
        while place is not None:
            places.append(place)
            place = place.earlier
        found: list[tuple[Rebased, tuple[Stage, ...]]] = []
        first = 0
        for place in reversed(places):
            until = place.stages
            if until is None:  # a record of before: what was put on this base was done when that was
                until = sum(stage.finished <= self.created for stage in self.stages)
            if stages := self.stages[first:until]:
                found.append((place, stages))
            first = max(first, until)
        return tuple(found)


def trained(stages: Sequence[Stage]) -> str:
    """Successive stages as the beginning of a sentence on where they were trained."""
    first, last = stages[0].n, stages[-1].n
    return f"stage {first} was trained" if first == last else f"stages {first} to {last} were trained"


class _Versioned(msgspec.Struct, frozen=True):
    version: int


def read_record(build: Path) -> BuildRecord:
    """The record of a build folder.

    Raises:
        UsageError: there is no such folder.
        StateError: no build, or a record that cannot be used.
    """
    if not build.is_dir():
        raise UsageError(f"build folder {build} does not exist")
    data = read_file(build / RECORD_NAME)
    if data is None:
        raise StateError(f"{build} holds no {RECORD_NAME}: begin with `tapestry build new {build}`")
    try:
        version = msgspec.json.decode(data, type=_Versioned).version
        if version != RECORD_VERSION:
            raise StateError(f"{build / RECORD_NAME} is of version {version}; this program knows {RECORD_VERSION}")
        return msgspec.json.decode(data, type=BuildRecord)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StateError(f"{build / RECORD_NAME} is damaged: {error}") from None


def write_record(build: Path, record: BuildRecord) -> None:
    """Replaces the record in one step, once every folder it speaks of is on disk. Raises StateError."""
    with told(build):
        folders = [path for path in build.iterdir() if path.is_dir() and path.name != WORK_FOLDER]
    for folder in folders:
        sync_folder(folder)
    replace_file(build / RECORD_NAME, [msgspec.json.format(msgspec.json.encode(record)) + b"\n"])
