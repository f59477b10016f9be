"""The built-in trainer: a byte-level causal LM on a folder of text. Run as `python -m peers.trainer CONFIG_JSON`.

It reads the data and has no network: the first thing it does is to leave the network behind. Its only ways out are the
socket and the shared memory that its node process gave it.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from peers.isolation import isolate
from swarm.errors import NetworkError, TapestryError
from swarm.net.lifeline import die_with_parent, ignore_stop_signals
from swarm.node.spawn import write_cause

NODE_GONE = 3
"""Exit code of a trainer whose node process ended first: the node says why, the trainer has nothing to add."""


class TrainerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Passed as one JSON argument."""

    parent_pid: int
    control_fd: int
    shared_fd: int
    files: tuple[str, ...]
    """Text files to train on, all labelled."""
    seed: int
    threads: int
    export: str
    """Folder for the Shared Base at the end, in the format `transformers` loads."""


def main() -> None:
    config = msgspec.json.decode(sys.argv[1], type=TrainerConfig)
    die_with_parent(config.parent_pid)
    ignore_stop_signals()
    isolation = isolate()  # before torch starts its threads
    try:
        train(config, isolation)
    except NetworkError:
        sys.exit(NODE_GONE)
    except TapestryError as error:
        write_cause(error)
        sys.exit(1)
    os._exit(0)  # all is written; taking torch down would cost whoever waits for us seconds


def train(config: TrainerConfig, isolation: tuple[str, str]) -> None:
    """Trains until the node stops, then writes the Shared Base."""
    import socket

    import torch

    from peers.batches import ByteSampler
    from peers.model import build
    from swarm.charter import files
    from swarm.node.link import TrainerEnd
    from swarm.node.optimizer import SwarmOptimizer
    from swarm.node.shared import SharedVectors

    torch.set_num_threads(config.threads)
    end = TrainerEnd(socket.socket(fileno=config.control_fd))
    charter = files.read(end.await_charter()).charter
    training = charter.training
    model = build(charter.model.config_json)
    model.train()
    shared = SharedVectors(config.shared_fd, charter.model.parameters)
    inner = torch.optim.AdamW(model.parameters(), lr=training.inner_lr, weight_decay=training.inner_weight_decay)
    optimizer = SwarmOptimizer(model, inner, end, shared, training, isolation)
    paths = [Path(path) for path in config.files]
    sampler = ByteSampler(paths, training.batch_size, training.sequence_length, config.seed)
    batches: Iterator[Any] = iter(())
    round_number = 0
    while not optimizer.is_finished:
        if optimizer.round != round_number:
            round_number = optimizer.round
            batches = sampler.batches(round_number)
        tokens_BL = torch.from_numpy(next(batches))
        loss = causal_loss(model, tokens_BL)
        loss.backward()
        optimizer.report(tokens=tokens_BL.shape[0] * (tokens_BL.shape[1] - 1), loss=float(loss.detach()))
        optimizer.step()
        optimizer.zero_grad()
    _export(model, Path(config.export))


def _export(model: Any, folder: Path) -> None:
    """Writes the model beside and moves it into place: a trainer killed meanwhile leaves the older one whole."""
    beside, older = folder.with_name(f"{folder.name}.new"), folder.with_name(f"{folder.name}.old")
    for leftover in (beside, older):
        shutil.rmtree(leftover, ignore_errors=True)
    model.save_pretrained(beside)
    if folder.exists():
        folder.rename(older)
    beside.rename(folder)
    shutil.rmtree(older, ignore_errors=True)


def causal_loss(model: Any, tokens_BL: Any) -> Any:
    """Mean cross-entropy, in nats per byte, of predicting each byte from those before it; tokens [B, L+1]."""
    import torch.nn.functional as functional

    logits_BLV = model(input_ids=tokens_BL[:, :-1]).logits
    return functional.cross_entropy(logits_BLV.flatten(0, 1).float(), tokens_BL[:, 1:].flatten())


if __name__ == "__main__":
    main()
