"""Per-sample gradients, clipping and noise, against gradients taken one sample at a time; models that are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from peers.model import build
from peers.privacy.account import ACCOUNT, Account
from peers.privacy.gradients import PerSample, backward, noisy_mean, sum_of_losses
from peers.privacy.keystream import Keystream
from peers.privacy.loop import PrivateSteps
from peers.privacy.records import PADDING
from swarm.charter.manifest import Training
from swarm.errors import DataError, ModelError, PolicyError
from swarm.sovereignty.privacy import Budget
from tests.unit.peers.privacy.fixed import fixed_entropy

LLAMA = {
    "model_type": "llama",
    "vocab_size": 256,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}
MOE = LLAMA | {"model_type": "mixtral", "num_local_experts": 2, "tie_word_embeddings": False}
TRAINING = Training(batch_size=8, sequence_length=16)


def model_of(config: dict[str, object]) -> nn.Module:
    model = build(json.dumps(config))
    model.train()
    return model


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return model_of(LLAMA)


@pytest.fixture
def per_sample(model: nn.Module):
    made = PerSample(model)
    yield made
    made.release()


def batch(rows: int, length: int = 12) -> np.ndarray:
    return np.random.default_rng(rows).integers(256, size=(rows, length + 1))


def alone(per_sample: PerSample, model: nn.Module, row_L: np.ndarray) -> torch.Tensor:
    """One sample's gradient by plain autograd, flat."""
    model.zero_grad(set_to_none=True)
    per_sample.see_samples(False)
    backward(model, torch.from_numpy(row_L[None]))
    per_sample.see_samples(True)
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])


def test_the_clipped_sum_is_that_of_samples_clipped_one_by_one(per_sample: PerSample, model: nn.Module) -> None:
    batch_BL = batch(7)
    batch_BL[3, 5:] = PADDING
    each = [alone(per_sample, model, row_L) for row_L in batch_BL]
    norm = float(np.median([gradient.norm() for gradient in each]))  # some are clipped, some are not
    expected = sum(gradient * min(1.0, norm / float(gradient.norm())) for gradient in each)
    found = per_sample.clipped_sum(batch_BL, norm)
    np.testing.assert_allclose(found, expected.numpy(), rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("max_norm", [1e-3, 0.1, 1.0])
def test_no_single_sample_moves_the_sum_by_more_than_the_bound(per_sample: PerSample, max_norm: float) -> None:
    for row in range(5):
        sum_N = per_sample.clipped_sum(batch(5)[row : row + 1], max_norm)
        assert np.linalg.norm(sum_N.astype(np.float64)) <= max_norm
    with_all = per_sample.clipped_sum(batch(5), max_norm).astype(np.float64)
    without_last = per_sample.clipped_sum(batch(5)[:4], max_norm).astype(np.float64)
    assert np.linalg.norm(with_all - without_last) <= max_norm * (1 + 1e-5)


def test_a_batch_in_pieces_gives_the_same_sum(per_sample: PerSample, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = per_sample.clipped_sum(batch(7), 0.5)
    monkeypatch.setattr("peers.privacy.gradients.PER_SAMPLE_BYTES", 2 * 4 * per_sample.elements)
    assert per_sample.at_once == 2
    np.testing.assert_allclose(per_sample.clipped_sum(batch(7), 0.5), whole, rtol=1e-3, atol=1e-5)


def test_a_sample_whose_gradient_is_not_finite_counts_as_zero(
    per_sample: PerSample, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = per_sample.clipped_sum(batch(3)[:2], 0.5)
    real = per_sample.of_each

    def spoilt(batch_BL: np.ndarray) -> list[torch.Tensor]:
        gradients = real(batch_BL)
        gradients[0][2] = float("nan")
        gradients[1][2] = float("inf")
        return gradients

    monkeypatch.setattr(per_sample, "of_each", spoilt)
    np.testing.assert_allclose(per_sample.clipped_sum(batch(3), 0.5), good, rtol=1e-3, atol=1e-6)


def test_noise_is_on_every_step_and_on_empty_batches_too(per_sample: PerSample) -> None:
    wanted = {"max_norm": 0.5, "noise_multiplier": 2.0, "expected_batch": 4}
    empty = noisy_mean(per_sample, batch(0), stream=Keystream(fixed_entropy("empty")), **wanted)
    assert empty.std() == pytest.approx(2.0 * 0.5 / 4, rel=0.05)
    full = noisy_mean(per_sample, batch(6), stream=Keystream(fixed_entropy("empty")), **wanted)
    # The same noise: what is left is the clipped sum over the expected batch, however many were drawn.
    np.testing.assert_allclose(4 * (full - empty), per_sample.clipped_sum(batch(6), 0.5), atol=1e-5)


def test_the_model_is_given_back_as_it_was() -> None:
    made = model_of(LLAMA)
    PerSample(made).release()
    sum_of_losses(made, torch.from_numpy(batch(2))).backward()
    assert not any(hasattr(parameter, "grad_sample") for parameter in made.parameters())


@pytest.mark.parametrize(
    ("config", "module"),
    [
        (MOE, "mlp"),
        (
            {"model_type": "gpt2", "vocab_size": 256, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32},
            r"transformer\.wpe",
        ),
    ],
    ids=["experts mix samples", "positions without a batch"],
)
def test_a_model_that_opacus_cannot_handle_is_refused_with_its_module(config: dict[str, object], module: str) -> None:
    with pytest.raises(ModelError, match=f"Opacus cannot handle its module .*{module}"):
        PerSample(model_of(config))


class Normed(nn.Module):
    """A model with a module that mixes the samples of a batch."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, 4)
        self.norm = norm
        self.head = nn.Linear(4, 256)

    def forward(self, input_ids: torch.Tensor) -> object:
        hidden_BLD = self.embed(input_ids)
        mixed_BLD = self.norm(hidden_BLD.transpose(1, 2)).transpose(1, 2)
        return type("Output", (), {"logits": self.head(mixed_BLD)})


class Mixing(nn.Module):
    """What Opacus lets pass: no buffers, and yet every sample's output depends on the others."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden - hidden.mean(dim=0, keepdim=True)


def test_batch_norm_and_samples_that_mix_unseen_are_refused() -> None:
    with pytest.raises(ModelError, match=r"norm.*BatchNorm"):
        PerSample(Normed(nn.BatchNorm1d(4)))
    with pytest.raises(ModelError, match="per-sample gradients are wrong"):
        PerSample(Normed(Mixing()))
    PerSample(Normed(nn.Identity()))


def steps_on(folder: Path, model: nn.Module, text: bytes, **changes: object) -> PrivateSteps:
    (folder / "a.txt").write_bytes(text)
    wanted: dict[str, object] = {"epsilon": 8.0, "delta": 1e-6, "noise_multiplier": 1.0, "max_grad_norm": 1.0}
    budget = Budget(unit="sequence", **(wanted | changes))  # pyright: ignore[reportArgumentType]
    return PrivateSteps(model, [folder / "a.txt"], TRAINING, budget, Account(folder / ACCOUNT))


def test_training_learns_under_privacy_and_stops_within_the_budget(tmp_path: Path) -> None:
    model = model_of(LLAMA)
    text = b"the quick brown fox jumps over the lazy dog. " * 3000
    steps = steps_on(tmp_path, model, text, noise_multiplier=0.8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    probe = torch.from_numpy(np.frombuffer(text[:17], np.uint8).astype(np.int64)[None])
    with torch.no_grad():
        before = float(sum_of_losses(model, probe))
    made = 0
    while steps.can_afford_one and made < 120:
        steps.gradient()
        optimizer.step()
        made += 1
    with torch.no_grad():
        after = float(sum_of_losses(model, probe))
    assert before > 5.4 and after < 4.2, (before, after)
    spent = steps.receipt(made).spent
    assert spent.steps == made and 0 < spent.epsilon <= 8.0


def test_the_step_that_would_pass_the_budget_is_not_made(tmp_path: Path, model: nn.Module) -> None:
    text = bytes(range(256)) * 4  # 61 sequences
    steps = steps_on(tmp_path, model, text)
    made = 0
    while steps.can_afford_one:
        steps.gradient()
        made += 1
    assert made == 24
    receipt = steps.receipt(0)
    assert receipt.update_steps == 0 and 7.5 < receipt.spent.epsilon <= 8.0
    steps.release()
    again = steps_on(tmp_path, model, text)  # a restart: the account is as it was
    assert not again.can_afford_one and again.receipt(0).spent == receipt.spent
    again.release()


def test_a_step_that_fails_after_its_charge_stays_charged(
    tmp_path: Path, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = steps_on(tmp_path, model, bytes(range(256)) * 40)

    def fails(*_: object, **__: object) -> None:
        assert Account(tmp_path / ACCOUNT).steps == 1, "the charge is on the disk before anything is drawn"
        raise RuntimeError("killed")

    monkeypatch.setattr("peers.privacy.records.PoissonSampler.draw", fails)
    with pytest.raises(RuntimeError, match="killed"):
        steps.gradient()
    assert Account(tmp_path / ACCOUNT).steps == 1
    steps.release()


def test_a_delta_that_would_let_a_record_be_published_is_refused(tmp_path: Path, model: nn.Module) -> None:
    with pytest.raises(PolicyError, match="delta"):
        steps_on(tmp_path, model, bytes(range(256)) * 100, delta=1e-3)
    with pytest.raises(DataError):
        steps_on(tmp_path, model, b"")
