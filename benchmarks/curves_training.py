"""One training of `tapestry bench curves`: peers make inner steps, a round averages, the outer step moves the base.

Everything runs in this process, one peer after the other, with the built-in trainer's own loss and batches. The same
seed gives the same initial weights and the same batches, whatever the variant, so differences between variants are
paired.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.curves_round import average
from benchmarks.curves_setup import Point, Setup, Variant
from benchmarks.curves_texts import Texts
from peers.batches import ByteSampler
from peers.model import build, load_vector
from peers.scoring import bits_per_byte
from peers.trainer import causal_loss
from swarm.vector.codec import make_codec
from swarm.vector.feedback import carry_in
from swarm.vector.flatten import elements, gather, named_parameters, schema
from swarm.vector.grid import Grid, Vector
from swarm.vector.outer import NesterovRule


class Peer:
    """A peer's trainer: a model, an inner optimiser whose moments last for the whole run, and its own text."""

    def __init__(self, setup: Setup, text: Path, own_seed: int) -> None:
        self._inner_steps = setup.inner_steps
        self._model = build(setup.model_config_json)
        self._model.train()
        self._named = named_parameters(self._model)
        self._inner = torch.optim.AdamW(self._model.parameters(), weight_decay=setup.inner_weight_decay, fused=True)
        self._sampler = ByteSampler([text], setup.batch_size, setup.sequence_length, own_seed)

    def update(self, base_N: Vector, round_number: int, inner_lr: float) -> Vector:
        """Base minus local weights after H inner steps, a new array of shape (N,)."""
        load_vector(self._model, base_N)
        for group in self._inner.param_groups:
            group["lr"] = inner_lr
        batches = self._sampler.batches(round_number)
        for _ in range(self._inner_steps):
            causal_loss(self._model, torch.from_numpy(next(batches))).backward()
            self._inner.step()
            self._inner.zero_grad()
        update_N = np.empty_like(base_N)
        gather(self._named, update_N)
        return np.subtract(base_N, update_N, out=update_N)


class Scorer:
    """The Shared Base's held-out loss."""

    def __init__(self, setup: Setup, held_out: Sequence[bytes]) -> None:
        self._model = build(setup.model_config_json)
        self._window = setup.sequence_length
        self._held_out = held_out

    def bits_per_byte(self, base_N: Vector) -> float:
        """The mean over the languages."""
        load_vector(self._model, base_N)
        scores = [bits_per_byte(self._model, text, self._window, len(text)) for text in self._held_out]
        return sum(scores) / len(scores)


def initial_base(setup: Setup, seed: int) -> Vector:
    """Fresh weights, shape (N,)."""
    named = named_parameters(build(setup.model_config_json, seed))
    base_N = np.empty(elements(schema(named.items())), np.float32)
    gather(named, base_N)
    return base_N


def train(
    setup: Setup, texts: Texts, variant: Variant, *, seed: int, rounds: int, on_point: Callable[[Point], None]
) -> tuple[Point, ...]:
    """The held-out curve of one run; every point is also told to `on_point` when it is known."""
    base_N = initial_base(setup, seed)
    momentum_N = np.zeros_like(base_N)
    grid = Grid(base_N.size, setup.chunk_elements)
    codec = make_codec(variant.codec, variant.block_elements)
    outer = NesterovRule(lr=setup.outer.lr, momentum=setup.outer.momentum)
    peers = [Peer(setup, text, seed * len(texts.train) + index) for index, text in enumerate(texts.train)]
    scorer = Scorer(setup, texts.held_out)
    residuals_PN: Sequence[Vector] = [np.zeros_like(base_N) for _ in peers]
    points: list[Point] = [(0, scorer.bits_per_byte(base_N))]
    on_point(points[-1])

    for round_number in range(1, rounds + 1):
        inner_lr = setup.inner_lr_at(round_number, rounds)
        x_PN = [peer.update(base_N, round_number, inner_lr) for peer in peers]
        if variant.is_nudged and round_number == 1:
            x_PN[0] = np.nextafter(x_PN[0], np.float32(np.inf))
        if variant.has_feedback:
            for x_N, residual_N in zip(x_PN, residuals_PN, strict=True):
                carry_in(x_N, residual_N)
        averaged = average(grid, codec, x_PN, round_number)
        residuals_PN = averaged.residuals_PN
        outer.step(base_N, (momentum_N,), averaged.mean_N, round_number)
        if round_number % setup.score_every_rounds == 0 or round_number == rounds:
            points.append((round_number, scorer.bits_per_byte(base_N)))
            on_point(points[-1])
    return tuple(points)
