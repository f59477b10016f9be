"""What a build is scored on: held-out text by the policy, and the canaries of all its stages. Reads no text."""

from collections.abc import Sequence
from pathlib import Path

from peers.build.base import longest_of
from peers.build.confined import BuildError
from peers.build.gate import missing
from peers.build.jobs import Scoring
from peers.build.record import BASE_FOLDER, BuildRecord
from peers.build.sources import Ground, held_out_files, own_languages
from peers.extraction import Canary, read_canaries
from swarm.errors import StateError

CANARIES_NAME = "canaries.json"
"""In a stage's folder, as `tapestry audit extraction` takes it."""
_WINDOW = 256


def scoring_of(build: Path, record: BuildRecord, ground: Ground, names: Sequence[str] = ()) -> Scoring:
    """What the build as it stands is scored on, when a stage is to be trained on these data sets as well.

    Raises:
        BuildError: text that the gate needs is missing from the policy.
        StateError: the canaries of a stage are missing.
    """
    held_out = held_out_files(ground, names, record)
    own = own_languages(ground, names, record)
    before = {score.language for stage in record.accepted for score in stage.evaluation.languages}
    if lacking := missing(own, held_out, before):
        raise BuildError("; ".join(lacking))
    longest = longest_of(build / BASE_FOLDER)
    return Scoring(
        held_out=held_out,
        own=own,
        window=_WINDOW if longest is None else min(longest, _WINDOW),
        canaries=tuple(canary for stage in record.accepted for canary in _canaries(build / stage.folder)),
        alternatives=max((stage.canaries.alternatives for stage in record.accepted), default=1),
    )


def readable(scoring: Scoring) -> list[Path]:
    """The files a worker needs for scoring."""
    return [Path(file.path) for files in scoring.held_out.values() for file in files]


def _canaries(folder: Path) -> tuple[Canary, ...]:
    path = folder / CANARIES_NAME
    if not path.is_file():
        raise StateError(f"{path} is missing: without it nobody can tell what the stage has memorised")
    return read_canaries(path)
