"""Puts an accepted stage in its place: the stage's folder, BUILD/model, and then the record that speaks of them.

BUILD/model is exchanged by renaming, and the old one goes only after the new record is on disk: a crash in between is
mended by `recover`, which keeps whichever of the two the record names.
"""

import os
import shutil
from pathlib import Path

import msgspec

from peers.build.card import model_card
from peers.build.confined import remove
from peers.build.jobs import ADAPTER_FOLDER
from peers.build.record import MODEL_FOLDER, BuildRecord, Result, Stage, write_record
from peers.build.weights import weights_digest
from swarm.state.disk import replace_file, told

_NEW, _BEFORE = "model.new", "model.before"
CARD = "README.md"


def place_stage(made: Path, method: str, folder: Path) -> str:
    """The stage's own folder, from what its worker made, with hard links; returns its `weights_digest`."""
    source = made / ADAPTER_FOLDER if method == "lora" else made / MODEL_FOLDER
    remove(folder)
    _link(source, folder)
    return weights_digest(folder)


def place_model(build: Path, weights: Path, record: BuildRecord) -> BuildRecord:
    """Makes `weights` the build's model, with its card, and writes the record with it as the result.

    Raises:
        StateError: the disk refuses; the model and the record are those of before.
    """
    new, before, model = build / _NEW, build / _BEFORE, build / MODEL_FOLDER
    remove(new)
    _link(weights, new)
    last = record.accepted[-1]
    record = msgspec.structs.replace(
        record, result=Result(folder=MODEL_FOLDER, digest=weights_digest(new), stage=last.n)
    )
    replace_file(new / CARD, [model_card(record, build.resolve().name).encode()])
    with told(model):
        if model.exists():
            model.rename(before)
        new.rename(model)
    write_record(build, record)
    remove(before)
    return record


def recover(build: Path, record: BuildRecord) -> None:
    """Mends what a crash has left of `place_model`. Raises StateError or ModelError."""
    before, model = build / _BEFORE, build / MODEL_FOLDER
    remove(build / _NEW)
    if before.exists():
        named = None if record.result is None else record.result.digest
        if model.exists() and weights_digest(model) == named:
            remove(before)
        else:
            remove(model)
            with told(model):
                before.rename(model)
    elif record.result is None:
        remove(model)


def with_stage(record: BuildRecord, stage: Stage) -> BuildRecord:
    """The record with a stage at its end, in place of one that was refused."""
    return msgspec.structs.replace(record, stages=(*record.accepted, stage))


def _link(source: Path, target: Path) -> None:
    with told(target):
        shutil.copytree(source, target, copy_function=os.link)
