"""Error feedback: over many rounds, what was applied is what was meant."""

import numpy as np
import pytest

from swarm.vector.codec import make_codec
from swarm.vector.feedback import carry_in, share_in

CODECS = ("float32", "bfloat16", "int8", "int4")


def gaussian(elements: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(elements).astype(np.float32)


def test_signs() -> None:
    update, residual = np.array([1.0], np.float32), np.array([0.25], np.float32)
    assert carry_in(update, residual).tolist() == [1.25]
    lost = np.array([0.25], np.float32)  # meant 1, sent 0.75
    share_in(lost, total_weight=8, own_weight=2)
    assert lost.tolist() == [1.0]


def test_both_work_in_place_and_leave_the_residual_alone() -> None:
    update, residual = gaussian(8, 0), gaussian(8, 1)
    assert carry_in(update, residual) is update
    assert residual.tobytes() == gaussian(8, 1).tobytes()
    lost = gaussian(8, 2)
    share_in(lost, 3, 3)
    assert lost.tobytes() == gaussian(8, 2).tobytes()


@pytest.mark.parametrize("name", CODECS)
def test_what_encoding_takes_is_what_was_meant_without_what_is_decoded(name: str) -> None:
    codec = make_codec(name, 64)
    x = gaussian(1000, 3)
    lost = np.full(1000, np.nan, np.float32)
    data = codec.encode(x, lost)
    assert data == codec.encode(x)
    assert lost.tobytes() == (x - codec.decode(data, 1000)).tobytes()


def test_a_constant_update_arrives_whole_although_single_rounds_lose_most_of_it() -> None:
    """Small values beside one large one: int8 alone would round most of them to zero for ever."""
    update = gaussian(256, 1) * np.float32(0.003)
    update[0] = 1
    codec = make_codec("int8", 256)
    without = codec.decode(codec.encode(update), 256)
    assert np.count_nonzero(without) < 130

    rounds = 400
    applied = np.zeros(256, np.float64)
    residual = np.zeros(256, np.float32)
    for round_number in range(rounds):
        x = carry_in(update.copy(), residual)
        if round_number % 3 == 1:
            residual = x  # not counted: nothing is lost, only late
            continue
        applied += codec.decode(codec.encode(x, residual), 256)
    np.testing.assert_allclose(applied / rounds, update, atol=2e-4)
    np.testing.assert_allclose(applied + residual, update * np.float64(rounds), atol=1e-3)


def test_the_makers_share_makes_quantising_the_mean_harmless() -> None:
    """Three peers of weights 1, 2, 5 own the chunk in turn, and add their own part as it is."""
    weights = (1, 2, 5)
    total = sum(weights)
    codec = make_codec("int8", 64)
    updates = [gaussian(256, seed) for seed in range(3)]
    true_mean = sum((w * u.astype(np.float64) for w, u in zip(weights, updates, strict=True))) / total
    rounds = 300

    def mean_error(*, with_share: bool) -> float:
        applied = np.zeros(256, np.float64)
        residuals = [np.zeros(256, np.float32) for _ in weights]
        for round_number in range(rounds):
            owner = round_number % 3
            sum_n = np.zeros(256, np.float32)
            for peer, weight in enumerate(weights):
                x = carry_in(updates[peer].copy(), residuals[peer])
                if peer == owner:
                    sum_n += x * np.float32(weight)
                else:
                    codec.accumulate(codec.encode(x, residuals[peer]), 256, weight, sum_n)
            mean = sum_n / np.float32(total)
            applied += codec.decode(codec.encode(mean, residuals[owner]), 256)
            if with_share:
                share_in(residuals[owner], total, weights[owner])
            else:
                residuals[owner][:] = 0
        return float(np.abs(applied / rounds - true_mean).max())

    assert mean_error(with_share=True) < 5e-4
    assert mean_error(with_share=False) > 2e-3
