"""Error feedback: over many rounds, what was applied is what was meant."""

import numpy as np

from swarm.vector.codec import Int8Block
from swarm.vector.feedback import carried, counted_residual, owner_share, uncounted_residual


def gaussian(elements: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(elements).astype(np.float32)


def test_signs() -> None:
    meant, sent = np.array([1.0], np.float32), np.array([0.75], np.float32)
    assert counted_residual(meant, sent).tolist() == [0.25]
    assert carried(meant, np.array([0.25], np.float32)).tolist() == [1.25]
    assert uncounted_residual(meant).tolist() == [1.0]
    assert owner_share(meant, sent, total_weight=8, own_weight=2).tolist() == [1.0]


def test_results_are_new_arrays() -> None:
    x = gaussian(8, 0)
    kept = uncounted_residual(x)
    x[:] = 0
    assert kept.tobytes() == gaussian(8, 0).tobytes()


def test_a_constant_update_arrives_whole_although_single_rounds_lose_most_of_it() -> None:
    """Small values beside one large one: int8 alone would round most of them to zero for ever."""
    update = gaussian(256, 1) * np.float32(0.003)
    update[0] = 1
    codec = Int8Block(256)
    without = codec.decode(codec.encode(update), 256)
    assert np.count_nonzero(without) < 130

    rounds = 400
    applied = np.zeros(256, np.float64)
    residual = np.zeros(256, np.float32)
    for round_number in range(rounds):
        x = carried(update, residual)
        if round_number % 3 == 1:
            residual = uncounted_residual(x)
            continue
        decoded = codec.decode(codec.encode(x), 256)
        applied += decoded
        residual = counted_residual(x, decoded)
    np.testing.assert_allclose(applied / rounds, update, atol=2e-4)
    np.testing.assert_allclose(applied + residual, update * np.float64(rounds), atol=1e-3)


def test_owner_share_makes_the_second_quantisation_harmless() -> None:
    """Three peers of weights 1, 2, 5 own the chunk in turn; what is applied follows the true mean."""
    weights = (1, 2, 5)
    total = sum(weights)
    codec = Int8Block(64)
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
                x = carried(updates[peer], residuals[peer])
                data = codec.encode(x)
                codec.accumulate(data, 256, weight, sum_n)
                residuals[peer] = counted_residual(x, codec.decode(data, 256))
            mean = sum_n / np.float32(total)
            decoded = codec.decode(codec.encode(mean), 256)
            applied += decoded
            if with_share:
                residuals[owner] += owner_share(mean, decoded, total, weights[owner])
        return float(np.abs(applied / rounds - true_mean).max())

    assert mean_error(with_share=True) < 5e-4
    assert mean_error(with_share=False) > 2e-3
