"""Checkpoints of a stage: which one it goes on from. One counts once it is on disk to the last byte.

    checkpoint-<step>/   what `transformers` writes, its trainer_state.json last
    whole.json           the checkpoints that are on disk, each with the digest of its files

A checkpoint that whole.json does not name was cut short. Without that file (an earlier version of this program was at
work here) one counts if its trainer_state.json is whole. Safetensors files in checkpoints bear the mark of a build.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from peers.build.mark import mark_weights
from peers.build.weights import files_digest
from swarm.state.disk import read_file, replace_file, sync_folder, told

_WHOLE = "whole.json"
_STATE = "trainer_state.json"


@dataclass(frozen=True)
class Found:
    """What a stage goes on from."""

    checkpoint: Path | None
    step: int
    is_damaged: bool
    """A later one was whole, and is not any more."""


def newest_whole(folder: Path) -> Found:
    """The newest checkpoint that is whole; all others that are newer are removed. Raises StateError."""
    known = _read(folder)
    last = max(map(_step_of, map(Path, known or ())), default=0)
    for path in sorted(folder.glob("checkpoint-*"), key=_step_of, reverse=True):
        if _is_ended(path) if known is None else known.get(path.name) == _digest_of(path):
            return Found(path, _step_of(path), _step_of(path) < last)
        with told(path):
            shutil.rmtree(path)
    return Found(None, 0, last > 0)


def begin(folder: Path, found: Found) -> None:
    """From here on only what is vouched for counts. Raises StateError."""
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
    known = _read(folder)
    if known is None:
        known = {} if found.checkpoint is None else {found.checkpoint.name: _digest_of(found.checkpoint)}
    _write(folder, known)


def vouch(checkpoint: Path) -> None:
    """Marks a checkpoint that was just written to its end, and puts it on record once it is on disk.

    Raises:
        StateError: the disk refuses.
        ModelError: what lies there is no checkpoint.
    """
    mark_weights(checkpoint)
    sync_folder(checkpoint)
    _write(checkpoint.parent, {**(_read(checkpoint.parent) or {}), checkpoint.name: _digest_of(checkpoint)})


def _digest_of(checkpoint: Path) -> str:
    """Raises ModelError."""
    return files_digest(sorted(path for path in checkpoint.iterdir() if path.is_file()))


def _is_ended(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / _STATE).read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return True


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _read(folder: Path) -> Mapping[str, str] | None:
    """Digests by the names of checkpoints; None where no file says so."""
    data = read_file(folder / _WHOLE)
    try:
        return None if data is None else msgspec.json.decode(data, type=dict[str, str])
    except msgspec.DecodeError:
        return {}


def _write(folder: Path, known: Mapping[str, str]) -> None:
    """But for those that are gone."""
    replace_file(
        folder / _WHOLE, [msgspec.json.encode({name: each for name, each in known.items() if (folder / name).is_dir()})]
    )
