"""What the confined worker of a build is asked to do, and what it tells while it does so: one JSON line each.

A job lies in a file that only its owner can read, since it holds canaries. The worker reads and writes nothing but the
paths in it; whatever it produces lies below `out`, in its scratch folder, until the parent process has taken it.
"""

from typing import Literal

import msgspec

from peers.build.record import Evaluation, Method, Settings, StageName
from peers.extraction import Canary

STOP = b"stop\n"
"""From the parent: write a checkpoint and end."""

ADAPTER_FOLDER, WEIGHTS_FOLDER, CHECKPOINTS_FOLDER = "stage", "model", "checkpoints"
"""Below `out`: what the stage itself made, the whole model it ends with, and its checkpoints on the way."""


class DataFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the member's, and the field of its rows that holds the text, if it has rows."""

    path: str
    field: str


class Scoring(msgspec.Struct, frozen=True, kw_only=True):
    """What models are scored on."""

    held_out: dict[str, tuple[DataFile, ...]]
    """By language."""
    own: frozenset[str]
    """Languages that some stage trains on."""
    window: int
    """Tokens that are predicted from one another."""
    canaries: tuple[Canary, ...]
    """Of every stage so far."""
    alternatives: int
    """Secrets that each canary's is ranked among."""


class TrainStage(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Trains one stage and scores the result."""

    stage: StageName
    method: Method
    settings: Settings
    base: str
    parent: str
    """Model folders: the Shared Base, and what the stage begins with."""
    files: tuple[DataFile, ...]
    planted: tuple[Canary, ...]
    """This stage's own canaries, each of which goes in `insertions` times."""
    insertions: int
    scoring: Scoring
    out: str


class Score(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Scores a model folder beside the Shared Base."""

    base: str
    model: str
    scoring: Scoring
    out: str


class Rebase(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Puts adapters on another base, in order, and scores the result."""

    base: str
    before: str
    """The model that was built on the older base."""
    adapters: tuple[str, ...]
    scoring: Scoring
    out: str


Job = TrainStage | Score | Rebase


class Confined(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """The launcher's first word."""

    isolation: str
    detail: str


class Step(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="t"):
    step: int
    steps: int
    loss: float | None = None


class Doing(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="t"):
    what: Literal["loading", "training", "scoring"]
    resumed_step: int = 0
    """The checkpoint a stage goes on from; 0 for none."""
    left_out: int = 0
    """Examples whose prompt leaves no room for an answer in a sequence."""
    is_damaged: bool = False
    """Something that an earlier try had written is not whole on disk any more, and is made again."""


class Stopped(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="t"):
    """Ended on request, with a checkpoint of this step."""

    step: int


class Done(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="t"):
    evaluation: Evaluation
    final_loss: float | None = None


FromWorker = Confined | Step | Doing | Stopped | Done
