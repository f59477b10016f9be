"""Capped weights: worked examples, the tight cases, and what is refused."""

from fractions import Fraction

import pytest

from swarm.vector.weights import MAX_WEIGHT, capped_weights

HALF = Fraction(1, 2)


def test_claims_under_the_cap_are_returned_as_they_are() -> None:
    assert capped_weights([6, 4, 2], ["a", "b", "c"], HALF) == (6, 4, 2)
    assert capped_weights([6], ["a"], Fraction(1)) == (6,)


def test_a_heavy_member_gets_exactly_the_cap() -> None:
    assert capped_weights([1000, 2, 1], ["a", "b", "c"], HALF) == (3, 2, 1)


def test_lowering_one_member_can_push_the_next_above_the_cap() -> None:
    """a is lowered first; only then does b exceed 2/5 of what is left."""
    assert capped_weights([100, 8, 1, 2], ["a", "b", "c", "d"], Fraction(2, 5)) == (6, 6, 1, 2)


def test_peers_of_one_member_share_its_cap() -> None:
    assert capped_weights([1, 1, 1, 1], ["a", "a", "a", "b"], HALF) == (1, 1, 1, 3)


def test_members_times_cap_of_one_makes_all_members_equal() -> None:
    assert capped_weights([9, 1, 5, 5], ["a", "b", "c", "c"], Fraction(1, 3)) == (2, 2, 1, 1)


def test_a_cheater_does_not_flatten_the_others() -> None:
    weights = capped_weights([2**80 + 1, 3000, 1000, 7001], ["x", "a", "b", "c"], HALF)
    assert weights == (11_001, 3000, 1000, 7001)


def test_rounding_stays_below_the_cap_and_close_to_the_exact_level() -> None:
    claims = [999_983, 611_953, 104_729, 1_299_709, 15_485_863]
    members = ["a", "a", "b", "c", "d"]
    weights = capped_weights(claims, members, HALF)
    # d is capped at what the others claim together
    assert sum(weights) >= 2 * weights[4]
    assert weights[4] == MAX_WEIGHT or sum(weights) - 2 * weights[4] < 4
    assert abs(weights[0] / weights[3] - claims[0] / claims[3]) < 1e-4


def test_claims_below_one_count_as_one() -> None:
    assert capped_weights([0, -5, 1], ["a", "b", "c"], HALF) == (1, 1, 1)


def test_large_claims_are_scaled_down() -> None:
    assert capped_weights([2**30, 2**29, 2**29], ["a", "b", "c"], HALF) == (2, 1, 1)


def test_an_impossible_cap_is_refused() -> None:
    with pytest.raises(ValueError, match="never undone"):
        capped_weights([1, 1, 1], ["a", "b", "b"], Fraction(2, 5))
    with pytest.raises(ValueError, match="never undone"):
        capped_weights([1], ["a"], Fraction(2))


def test_lengths_must_match() -> None:
    with pytest.raises(ValueError, match="do not match"):
        capped_weights([1], ["a", "b"], HALF)
    with pytest.raises(ValueError, match="do not match"):
        capped_weights([], [], HALF)
