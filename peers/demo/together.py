"""The yardstick of a privacy tier: the same members, text and rounds, with updates that are averaged in the clear.

A job of the workbench. For every round it makes the inner steps of those who were counted in the swarm's round, one
after another, from the same base and with the same optimiser, and applies the charter's outer step to the plain mean.
Nothing is quantised, masked, clipped or noisy, and nothing is sent: what a tier costs is the distance from here.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from peers.demo.terms import HELD_OUT_BYTES
from swarm.charter.manifest import Training

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel


class Giver(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A peer: its text, and the seed its batches are drawn with."""

    files: tuple[str, ...]
    seed: int


class Together(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Rounds of several peers; the answer is {language: bits per byte} of the base after the last one."""

    charter: str
    base: str
    """State 0 file of the charter."""
    givers: dict[str, Giver]
    """By peer."""
    rounds: dict[str, tuple[str, ...]]
    """By number, who was counted."""
    held_out: dict[str, str]
    """Language to file."""


def together(job: Together) -> dict[str, float]:
    """Held-out bits per byte by language, after the job's rounds."""
    import numpy as np
    import torch

    from peers.model import build, load_vector
    from peers.scoring import bits_per_byte
    from swarm.charter import files
    from swarm.state.resume import read_state_zero
    from swarm.state.run import outer_rule

    torch.set_num_threads(1)
    charter = files.read(Path(job.charter)).charter
    base_N = read_state_zero(Path(job.base))
    assert base_N is not None, f"{job.base} is missing"
    base_N = base_N.copy()
    rule = outer_rule(charter.outer)
    state_VN = tuple(np.zeros_like(base_N) for _ in range(rule.vectors))
    local: dict[str, _Local] = {}
    for number, peers in sorted((int(text), peers) for text, peers in job.rounds.items()):
        mean_N = np.zeros_like(base_N)
        for peer in peers:
            if peer not in local:
                local[peer] = _Local(job.givers[peer], charter.model.config_json, charter.training)
            mean_N += base_N - local[peer].steps_from(base_N, number)
        mean_N /= np.float32(len(peers))
        rule.step(base_N, state_VN, mean_N, number)
    model = build(charter.model.config_json)
    load_vector(model, base_N)
    window = charter.training.sequence_length
    return {
        language: bits_per_byte(model, Path(path).read_bytes(), window, HELD_OUT_BYTES)
        for language, path in sorted(job.held_out.items())
    }


class _Local:
    """One peer's model, optimiser and text."""

    def __init__(self, giver: Giver, config_json: str, training: Training) -> None:
        import torch

        from peers.batches import ByteSampler
        from peers.model import build

        self._training = training
        self._model: PreTrainedModel = build(config_json)
        self._model.train()
        self._inner: Any = torch.optim.AdamW(
            self._model.parameters(), lr=training.inner_lr, weight_decay=training.inner_weight_decay
        )
        paths = [Path(path) for path in giver.files]
        self._sampler = ByteSampler(paths, training.batch_size, training.sequence_length, giver.seed)

    def steps_from(self, base_N: "np.ndarray", round_number: int) -> "np.ndarray":
        """The weights after a round's inner steps from a base; float32 [N] both."""
        import numpy as np
        import torch

        from peers.model import load_vector
        from peers.trainer import causal_loss
        from swarm.vector.flatten import gather, named_parameters

        load_vector(self._model, base_N)
        batches = self._sampler.batches(round_number)
        for _ in range(self._training.inner_steps):
            causal_loss(self._model, torch.from_numpy(next(batches))).backward()
            self._inner.step()
            self._inner.zero_grad()
        weights_N = np.empty_like(base_N)
        gather(named_parameters(self._model), weights_N)
        return weights_N
