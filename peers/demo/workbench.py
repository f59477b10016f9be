"""The pilot's own work with models, outside the swarm: `python -m peers.demo.workbench PARENT_PID`.

It reads jobs as JSON lines and answers each with one, so that what is slow to import is imported once, and not by the
pilot itself. `MakeState0` makes the fresh weights that the charter names. `Score` is the yardstick: it takes a base
(state 0 or the exported Shared Base), makes as many inner steps on a region's own text as that region made in the
swarm, with the same optimiser, batches and seed, and scores the result on held-out text in every language. Without
steps it only scores. `Together` is the yardstick of privacy tiers (`peers.demo.together`).
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from peers.demo.terms import HELD_OUT_BYTES
from peers.demo.together import Together, together
from swarm.charter.manifest import Outer, Reduce, Training
from swarm.net.lifeline import die_with_parent

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class MakeState0(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Fresh weights into a file; the answer is what the charter says about them (`State0Facts`)."""

    config_json: str
    seed: int
    outer: Outer
    reduce: Reduce
    path: str


class State0Facts(msgspec.Struct, frozen=True, kw_only=True):
    parameters: int
    schema_digest: str
    state_digest: str


class Score(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """A model trained, if `steps` says so, and scored; the answer is {language: bits per byte}."""

    charter: str
    base: str
    """State 0 file of the charter, or a folder that `transformers` loads."""
    files: tuple[str, ...] = ()
    """Text to train on."""
    steps: int = 0
    seed: int = 0
    held_out: dict[str, str]
    """Language to file."""


Job = MakeState0 | Score | Together


def main() -> None:
    die_with_parent(int(sys.argv[1]))
    decoder = msgspec.json.Decoder(Job)
    for line in sys.stdin.buffer:
        os.write(1, msgspec.json.encode(_answer(decoder.decode(line))) + b"\n")


def _answer(job: Job) -> "State0Facts | dict[str, float]":
    match job:
        case MakeState0():
            return make_state0(job)
        case Score():
            return score(job)
        case Together():
            return together(job)


def make_state0(job: MakeState0) -> State0Facts:
    """Writes the base of state 0."""
    from peers.model import initial_state, write_state0

    state0 = initial_state(job.config_json, job.seed, job.outer, job.reduce)
    write_state0(Path(job.path), state0.base)
    return State0Facts(
        parameters=state0.parameters, schema_digest=state0.schema_digest, state_digest=state0.state_digest
    )


def score(job: Score) -> dict[str, float]:
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


def _load(job: Score, config_json: str) -> "PreTrainedModel":
    import torch
    from transformers import AutoModelForCausalLM

    from peers.model import build, load_vector
    from swarm.state.resume import read_state_zero

    base = Path(job.base)
    if base.is_dir():
        return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = build(config_json)
    base_N = read_state_zero(base)
    assert base_N is not None, f"{base} is missing"
    load_vector(model, base_N)
    return model


def _train(model: "PreTrainedModel", job: Score, training: Training) -> None:
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
