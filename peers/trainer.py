"""The built-in trainer: a causal LM on a folder of text. Run as `python -m peers.trainer CONFIG_JSON`.

It reads the data and has no network: the launcher that starts it (`swarm.isolation`) has left it nothing but its data,
its scratch folder, and the socket and the shared memory that its node process gave it.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from swarm import events
from swarm.clock import process_began_s, process_s
from swarm.errors import NetworkError, PolicyError, TapestryError
from swarm.net.lifeline import die_with_parent, ignore_stop_signals
from swarm.node.spawn import write_cause
from swarm.sovereignty.policy import DpRules
from swarm.sovereignty.reasons import Reason

if TYPE_CHECKING:
    from peers.device import Device
    from peers.ecosystem.reading import Reading, Sampler
    from peers.privacy.account import Account
    from swarm.charter.manifest import Training
    from swarm.node.link import TrainerEnd
    from swarm.node.optimizer import SwarmOptimizer

NODE_GONE = 3
"""Exit code of a trainer whose node process ended first: the node says why, the trainer has nothing to add."""


class TrainerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Passed as one JSON argument."""

    parent_pid: int = 0
    """Whom not to outlive; 0 if a launcher sees to that."""
    control_fd: int
    shared_fd: int
    files: tuple[str, ...]
    """Files of text, or of rows with text (peers.ecosystem.rows), to train on, all labelled."""
    held_out: tuple[str, ...] = ()
    """The same, to score new bases on, where members vote on them; none are trained on."""
    fields: dict[str, str] = {}
    """Of files of rows: the field that holds the text, where it is not called "text"."""
    adopted: str = ""
    """Folder with the tokenizer of the checkpoint that the run began from."""
    seed: int
    threads: int
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dp: DpRules | None = None
    """How records are kept private, where the policy demands it."""
    scratch: str = ""
    """The folder it may write: the account of privacy spent is kept there, and the text of files of rows."""
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

    from peers.device import memory_for, probe
    from peers.ecosystem.reading import read_as
    from peers.ecosystem.rows import as_nameless_text
    from peers.model import build
    from swarm.charter import files
    from swarm.node.link import TrainerEnd
    from swarm.node.messages import Imported, SetUp
    from swarm.node.optimizer import SwarmOptimizer
    from swarm.node.shared import SharedVectors

    torch.set_num_threads(config.threads)
    end = TrainerEnd(socket.socket(fileno=config.control_fd))
    end.send(Imported(process_s() - process_began_s()))
    charter = files.decode_toml(end.await_charter()).charter
    training = charter.training
    device = probe(config.device)
    model: Any = build(charter.model.config_json)
    with memory_for("the model", device):
        model.to(device.kind)  # before the optimizer takes hold of the parameters
    model.train()
    shared = SharedVectors(config.shared_fd, charter.model.parameters)
    inner = torch.optim.AdamW(model.parameters(), lr=training.inner_lr, weight_decay=training.inner_weight_decay)
    paths = [Path(path) for path in config.files]
    reading = read_as(charter.model, model.config, config.adopted)
    if config.dp is not None:
        _require_plain(paths, reading)
    texts = as_nameless_text([*paths, *map(Path, config.held_out)], config.fields, Path(config.scratch))
    score = _in_memory_of(device, reading.scorer(texts[len(paths) :], training.sequence_length))
    if config.dp is None:
        sampler = reading.sampler(texts[: len(paths)], training, config.seed)
        optimizer = SwarmOptimizer(model, inner, end, shared, training)
        optimizer.score_with = score
        _train_plainly(optimizer, model, sampler, end, device, training)
    else:
        from peers.privacy.loop import PrivateSteps, train_privately
        from swarm.sovereignty.privacy import budget_of

        steps = PrivateSteps(model, paths, training, budget_of(config.dp, charter.privacy.delta), _account(config))
        end.send(SetUp(_set_up(device, "fp32", steps.at_once, training.batch_size, "under differential privacy")))
        optimizer = SwarmOptimizer(model, inner, end, shared, training)
        optimizer.score_with = score
        with memory_for("a private step", device):
            train_privately(optimizer, steps, training)
        steps.release()
    model.save_pretrained(config.export)
    reading.put_beside(Path(config.export))


def _require_plain(paths: Sequence[Path], reading: "Reading") -> None:
    """Differential privacy is for records of bytes as they lie in the files. Raises PolicyError."""
    if reading.words is not None:
        raise PolicyError(
            "this data is trained on under differential privacy, whose records are of bytes: not in a run with a "
            "checkpoint's own tokens",
            Reason.PRIVACY_MISSING,
        )
    for path in paths:
        if path.suffix == ".parquet":
            raise PolicyError(
                f"{path}: differential privacy knows the records of text and of JSON lines, not of Parquet",
                Reason.PRIVACY_MISSING,
            )


def _train_plainly(
    optimizer: "SwarmOptimizer",
    model: Any,
    sampler: "Sampler",
    end: "TrainerEnd",
    device: "Device",
    training: "Training",
) -> None:
    import torch

    from peers.accumulation import Accumulator
    from swarm.node.messages import SetUp

    optimizer.least_tokens = training.sequence_length

    def set_up(micro_batch: int, reason: str) -> None:
        end.send(SetUp(_set_up(device, accumulator.precision, micro_batch, training.batch_size, reason)))

    accumulator = Accumulator(model, causal_loss, device, training.batch_size, set_up)
    set_up(training.batch_size, "as this machine was found")
    batches: Iterator[Any] = iter(())
    round_number = 0
    while not optimizer.is_finished:
        if optimizer.round != round_number:
            round_number = optimizer.round
            batches = sampler.batches(round_number)
        tokens_BL = torch.from_numpy(next(batches))[: _rows_left(optimizer.tokens_left, training)]
        loss = accumulator.backward(tokens_BL)
        optimizer.report(tokens=tokens_BL.shape[0] * (tokens_BL.shape[1] - 1), loss=loss)
        accumulator.step(optimizer, tokens_BL)


def _in_memory_of(device: "Device", score: Callable[[Any], float] | None) -> Callable[[Any], float] | None:
    """The same scorer, of which running out of memory is a DeviceError."""
    from peers.device import memory_for

    if score is None:
        return None

    def scored(model: Any) -> float:
        with memory_for("scoring a new base on held-out data", device):
            return score(model)

    return scored


def _account(config: TrainerConfig) -> "Account":
    from peers.privacy.account import ACCOUNT, Account

    return Account(Path(config.scratch) / ACCOUNT)


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
    """Mean cross-entropy, in nats per token, of predicting each token from those before it; tokens [B, L+1]."""
    import torch.nn.functional as functional

    logits_BLV = model(input_ids=tokens_BL[:, :-1]).logits
    return functional.cross_entropy(logits_BLV.flatten(0, 1).float(), tokens_BL[:, 1:].flatten())


if __name__ == "__main__":
    main()
