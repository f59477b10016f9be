"""The pilot's yardstick: trains and scores models outside the swarm. `python -m peers.demo.solo PARENT_PID`.

It reads jobs as JSON lines and answers each with one, so that what is slow to import is imported once.

A job takes a base (state 0 or the exported Shared Base), makes as many inner steps on a region's own text as that
region made in the swarm, with the same optimiser, batches and seed, and scores the result on held-out text in every
language. A job without steps only scores.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from swarm.charter.manifest import Training
from swarm.net.lifeline import die_with_parent

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HELD_OUT_BYTES = 16_384
"""Per language; the same bytes for every model."""


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line in; the answer is {language: bits per byte}."""

    charter: str
    base: str
    """State 0 file of the charter, or a folder that `transformers` loads."""
    files: tuple[str, ...] = ()
    """Text to train on."""
    steps: int = 0
    seed: int = 0
    held_out: dict[str, str]
    """Language to file."""


def main() -> None:
    die_with_parent(int(sys.argv[1]))
    decoder = msgspec.json.Decoder(Job)
    for line in sys.stdin.buffer:
        os.write(1, msgspec.json.encode(work(decoder.decode(line))) + b"\n")


def work(job: Job) -> dict[str, float]:
    """Held-out bits per byte by language, after the job's inner steps."""
    import torch

    from peers.scoring import bits_per_byte
    from swarm.charter import files

    torch.set_num_threads(1)
    charter = files.read(Path(job.charter)).charter
    model = _load(job, charter.model.config_json)
    if job.steps:
        _train(model, job, charter.training)
    window = charter.training.sequence_length
    return {
        language: bits_per_byte(model, Path(path).read_bytes(), window, HELD_OUT_BYTES)
        for language, path in sorted(job.held_out.items())
    }


def _load(job: Job, config_json: str) -> "PreTrainedModel":
    import torch
    from transformers import AutoModelForCausalLM

    from peers.model import build, load_vector
    from swarm.node.process import read_state_zero

    base = Path(job.base)
    if base.is_dir():
        return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = build(config_json)
    base_N = read_state_zero(base)
    assert base_N is not None, f"{base} is missing"
    load_vector(model, base_N)
    return model


def _train(model: "PreTrainedModel", job: Job, training: Training) -> None:
    """The built-in trainer's inner steps, without the rounds between them."""
    import torch

    from peers.batches import ByteSampler
    from peers.trainer import causal_loss

    model.train()
    inner = torch.optim.AdamW(model.parameters(), lr=training.inner_lr, weight_decay=training.inner_weight_decay)
    paths = [Path(path) for path in job.files]
    sampler = ByteSampler(paths, training.batch_size, training.sequence_length, job.seed)
    for first in range(0, job.steps, training.inner_steps):
        batches = sampler.batches(1 + first // training.inner_steps)  # what the swarm's round would draw
        for _ in range(min(training.inner_steps, job.steps - first)):
            causal_loss(model, torch.from_numpy(next(batches))).backward()
            inner.step()
            inner.zero_grad()


if __name__ == "__main__":
    main()
