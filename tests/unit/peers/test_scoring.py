"""Bits per byte against models whose score is known."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from peers.scoring import bits_per_byte


class Uniform(nn.Module):
    """Knows nothing: every byte has probability 1/256."""

    def forward(self, input_ids: Tensor) -> SimpleNamespace:
        assert not self.training
        assert not torch.is_grad_enabled()
        return SimpleNamespace(logits=torch.zeros(*input_ids.shape, 256))


class Counter(nn.Module):
    """Sure that every byte is the one before plus one."""

    def forward(self, input_ids: Tensor) -> SimpleNamespace:
        logits = torch.full((*input_ids.shape, 256), -1e4)
        return SimpleNamespace(logits=logits.scatter(2, (input_ids + 1).unsqueeze(2) % 256, 0.0))


class Halves(nn.Module):
    """Gives probability 1/2 to byte 1, and remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[list[int]] = []

    def forward(self, input_ids: Tensor) -> SimpleNamespace:
        self.shown.extend(input_ids.tolist())
        logits = torch.zeros(*input_ids.shape, 256)
        logits[..., 1] = math.log(255)
        return SimpleNamespace(logits=logits)


@pytest.mark.parametrize(("size", "window"), [(1000, 16), (16, 16), (2, 64), (1001, 10), (17, 16)])
def test_a_model_that_knows_nothing_needs_eight_bits(size: int, window: int) -> None:
    assert bits_per_byte(Uniform(), bytes(size), window, size) == pytest.approx(8.0, abs=1e-6)


def test_a_model_that_knows_the_answer_needs_none() -> None:
    assert bits_per_byte(Counter(), bytes(i % 256 for i in range(5000)), 100, 5000) == 0.0


def test_first_bytes_of_windows_are_context_and_the_rest_is_averaged() -> None:
    # Windows [0 1 1] [0 1 0] [1 0]: predicted 1 1, 1 0, 0; byte 1 costs 1 bit, byte 0 log2(510).
    model = Halves()
    expected = (3 * 1 + 2 * math.log2(510)) / 5
    assert bits_per_byte(model, bytes([0, 1, 1, 0, 1, 0, 1, 0, 9, 9]), 3, 8) == pytest.approx(expected)
    assert model.shown == [[0, 1, 1], [0, 1, 0], [1, 0]]


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_restored(training: bool) -> None:
    model = Uniform().train(training)
    bits_per_byte(model, bytes(8), 4, 8)
    assert model.training == training


@pytest.mark.parametrize(("text", "window", "limit"), [(b"", 8, 8), (b"a", 8, 8), (b"abc", 1, 8), (b"abc", 8, 1)])
def test_nothing_to_predict_is_refused(text: bytes, window: int, limit: int) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        bits_per_byte(Uniform(), text, window, limit)


def test_windows_that_do_not_fit_into_memory_together_are_scored_a_few_at_a_time() -> None:
    class Tight(Uniform):
        def forward(self, input_ids: Tensor) -> SimpleNamespace:
            sizes.append(len(input_ids))
            if len(input_ids) > 3:
                raise torch.OutOfMemoryError("out of memory")
            return super().forward(input_ids)

    sizes: list[int] = []
    assert bits_per_byte(Tight(), bytes(100), 10, 100) == pytest.approx(8.0, abs=1e-6)
    assert sizes == [10, 5, 3, 2, 5, 3, 2]
