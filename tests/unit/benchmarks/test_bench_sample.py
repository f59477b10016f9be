"""The check that tells an average from something else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import sample


def _vectors(world: int, elements: int, round_index: int) -> list[torch.Tensor]:
    vectors = [torch.empty(elements) for _ in range(world)]
    for rank, vector in enumerate(vectors):
        sample.fill(vector, round_index=round_index, rank=rank)
    return vectors


@settings(max_examples=20, deadline=None)
@given(
    world=st.integers(2, 5),
    elements=st.integers(1_000, 4 * sample.PIECE_ELEMENTS),
    round_index=st.integers(0, 500),
)
def test_the_average_is_recognised_and_a_lone_vector_is_not(world: int, elements: int, round_index: int) -> None:
    vectors = _vectors(world, elements, round_index)
    mean = torch.stack(vectors).mean(dim=0)
    assert sample.rms_error(mean, round_index=round_index, world=world) < 1e-6
    lone = sample.rms_error(vectors[0], round_index=round_index, world=world)
    assert lone == pytest.approx((world - 1) ** 0.5, rel=0.2)


def test_rounds_differ_and_repeat() -> None:
    first, again, other = _vectors(1, 1_000, 1)[0], _vectors(1, 1_000, 1)[0], _vectors(1, 1_000, 2)[0]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_error_of_noise_is_its_relative_size() -> None:
    vectors = _vectors(2, 50_000, 1)
    mean = torch.stack(vectors).mean(dim=0)
    noisy = mean + 0.05 * mean.std() * torch.randn(50_000, generator=torch.Generator().manual_seed(1))
    assert sample.rms_error(noisy, round_index=1, world=2) == pytest.approx(0.05, rel=0.05)
