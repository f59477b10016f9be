"""The built-in trainer: a byte-level causal LM on a folder of text. Run as `python -m peers.trainer CONFIG_JSON`.

It reads the data and has no network: the launcher that starts it (`swarm.isolation`) has left it nothing but its data,
its scratch folder, and the socket and the shared memory that its node process gave it.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from swarm import events
from swarm.clock import process_began_s, process_s
from swarm.errors import NetworkError, TapestryError
from swarm.net.lifeline import die_with_parent, ignore_stop_signals
from swarm.node.spawn import write_cause

if TYPE_CHECKING:
    from peers.device import Device
    from swarm.charter.manifest import Training

NODE_GONE = 3
"""Exit code of a trainer whose node process ended first: the node says why, the trainer has nothing to add."""


class TrainerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Passed as one JSON argument."""

    parent_pid: int = 0
    """Whom not to outlive; 0 if a launcher sees to that."""
    control_fd: int
    shared_fd: int
    files: tuple[str, ...]
    """Text files to train on, all labelled."""
    seed: int
    threads: int
    device: Literal["auto", "cpu", "cuda"] = "auto"
    export: str
    """Folder to make for the Shared Base at the end, in the format `transformers` loads."""


def main() -> None:
    config = msgspec.json.decode(sys.argv[1], type=TrainerConfig)
    if config.parent_pid:
        die_with_parent(config.parent_pid)
    ignore_stop_signals()
    try:
        train(config)
    except NetworkError:
        sys.exit(NODE_GONE)
    except TapestryError as error:
        write_cause(error)
        sys.exit(1)
    os._exit(0)  # all is written; taking torch down would cost whoever waits for us seconds


def train(config: TrainerConfig) -> None:
    """Trains until the node stops, then writes the Shared Base."""
    import socket

    import torch

    from peers.accumulation import Accumulator
    from peers.batches import ByteSampler
    from peers.device import probe
    from peers.model import build
    from swarm.charter import files
    from swarm.node.link import Imported, SetUp, TrainerEnd
    from swarm.node.optimizer import SwarmOptimizer
    from swarm.node.shared import SharedVectors

    torch.set_num_threads(config.threads)
    end = TrainerEnd(socket.socket(fileno=config.control_fd))
    end.send(Imported(process_s() - process_began_s()))
    charter = files.decode_toml(end.await_charter()).charter
    training = charter.training
    device = probe(config.device)
    model: Any = build(charter.model.config_json)
    model.to(device.kind)  # before the optimizer takes hold of the parameters
    model.train()
    shared = SharedVectors(config.shared_fd, charter.model.parameters)
    inner = torch.optim.AdamW(model.parameters(), lr=training.inner_lr, weight_decay=training.inner_weight_decay)
    optimizer = SwarmOptimizer(model, inner, end, shared, training)
    optimizer.least_tokens = training.sequence_length

    def set_up(micro_batch: int, reason: str) -> None:
        end.send(SetUp(_set_up(device, accumulator.precision, micro_batch, training.batch_size, reason)))

    accumulator = Accumulator(model, causal_loss, device, training.batch_size, set_up)
    set_up(training.batch_size, "as this machine was found")
    paths = [Path(path) for path in config.files]
    sampler = ByteSampler(paths, training.batch_size, training.sequence_length, config.seed)
    batches: Iterator[Any] = iter(())
    round_number = 0
    while not optimizer.is_finished:
        if optimizer.round != round_number:
            round_number = optimizer.round
            batches = sampler.batches(round_number)
        tokens_BL = torch.from_numpy(next(batches))[: _rows_left(optimizer.tokens_left, training)]
        loss = accumulator.backward(tokens_BL)
        optimizer.report(tokens=tokens_BL.shape[0] * (tokens_BL.shape[1] - 1), loss=loss)
        accumulator.scaler.step(optimizer)
        accumulator.scaler.update()
    model.save_pretrained(config.export)


def _rows_left(tokens_left: int | None, training: "Training") -> int:
    """Sequences of the next batch: fewer than the charter's only where the round has no time for more."""
    if tokens_left is None:
        return training.batch_size
    return max(1, min(training.batch_size, tokens_left // training.sequence_length))


def _set_up(device: "Device", precision: str, micro_batch: int, batch: int, reason: str) -> events.TrainerSetUp:
    return events.TrainerSetUp(
        device=device.kind,
        name=device.name,
        memory_bytes=device.memory_bytes,
        precision=precision,
        micro_batch=micro_batch,
        batch=batch,
        reason=reason,
    )


def causal_loss(model: Any, tokens_BL: Any) -> Any:
    """Mean cross-entropy, in nats per byte, of predicting each byte from those before it; tokens [B, L+1]."""
    import torch.nn.functional as functional

    logits_BLV = model(input_ids=tokens_BL[:, :-1]).logits
    return functional.cross_entropy(logits_BLV.flatten(0, 1).float(), tokens_BL[:, 1:].flatten())


if __name__ == "__main__":
    main()
