"""Puts an accepted stage in its place: the stage's folder, BUILD/model, and then the record that speaks of them.

BUILD/model is exchanged by renaming, and the old one goes only after the new record is on disk, which follows all it
speaks of: a crash or a power cut in between is mended by `mended_record`, which keeps whichever the record names.
"""

import os
import shutil
from pathlib import Path

import msgspec

from peers.build.card import model_card
from peers.build.confined import remove
from peers.build.jobs import ADAPTER_FOLDER, WEIGHTS_FOLDER
from peers.build.record import MODEL_FOLDER, BuildRecord, Method, Result, Stage, read_record, write_record
from peers.build.weights import is_whole, weights_digest
from swarm.state.disk import replace_file, told

_NEW, _BEFORE = "model.new", "model.before"
CARD = "README.md"


def place_stage(made: Path, method: Method, folder: Path) -> str:
    """The stage's own folder, from what its worker made, with hard links; returns its `weights_digest`."""
    source = made / (ADAPTER_FOLDER if method == "lora" else WEIGHTS_FOLDER)
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


def mended_record(build: Path) -> BuildRecord:
    """The build's record, once what a crash has left of `place_model` is mended.

    Raises:
        UsageError: there is no such folder.
        StateError: no build, a record that cannot be used, or the disk.
    """
    record = read_record(build)
    before, model = build / _BEFORE, build / MODEL_FOLDER
    named = "" if record.result is None else record.result.digest
    remove(build / _NEW)
    if is_whole(before, named) and not is_whole(model, named):
        remove(model)
        with told(model):
            before.rename(model)
    remove(before)
    if not named:
        remove(model)
    return record


def with_stage(record: BuildRecord, stage: Stage) -> BuildRecord:
    """The record with a stage at its end, in place of one that was refused."""
    return msgspec.structs.replace(record, stages=(*record.accepted, stage))


def _link(source: Path, target: Path) -> None:
    with told(target):
        shutil.copytree(source, target, copy_function=os.link)
