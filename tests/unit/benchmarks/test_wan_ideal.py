"""Ideal times: the figures that the engine's are held against."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.wan import ideal

_RATES = st.lists(st.floats(1e6, 1e9), min_size=2, max_size=8)


def test_equal_links_need_two_passes_less_a_share() -> None:
    assert ideal.even_s(encoded_bytes=1_000_000, peers=4, rate_bps=8e6) == pytest.approx(1.5)


def test_the_best_split_of_100_100_60_60_leaves_the_slow_links_a_sixteenth_each() -> None:
    rates_bps = [100.0, 100.0, 60.0, 60.0]
    best_s = ideal.best_split_s(encoded_bytes=1, rates_bps=rates_bps)
    by_shares_s = ideal.split_s(encoded_bytes=1, rates_bps=rates_bps, shares=[0.4375, 0.4375, 0.0625, 0.0625])
    equal_s = ideal.split_s(encoded_bytes=1, rates_bps=rates_bps, shares=[0.25] * 4)
    assert best_s == pytest.approx(by_shares_s)
    assert equal_s / best_s == pytest.approx(4 / 3)


def test_a_link_far_slower_than_the_others_owns_nothing_and_sets_the_time() -> None:
    rates_bps = [100.0, 100.0, 100.0, 20.0]
    best_s = ideal.best_split_s(encoded_bytes=1, rates_bps=rates_bps)
    assert best_s == pytest.approx(8 / 20)
    assert ideal.split_s(encoded_bytes=1, rates_bps=rates_bps, shares=[1 / 3, 1 / 3, 1 / 3, 0.0]) == pytest.approx(
        best_s
    )


@given(peers=st.integers(2, 16), rate_bps=st.floats(1e6, 1e9))
def test_with_equal_links_the_best_split_is_the_even_one(peers: int, rate_bps: float) -> None:
    even_s = ideal.even_s(encoded_bytes=1_000, peers=peers, rate_bps=rate_bps)
    assert ideal.best_split_s(encoded_bytes=1_000, rates_bps=[rate_bps] * peers) == pytest.approx(even_s)


@given(rates_bps=_RATES, parts=st.lists(st.floats(0.0, 1.0), min_size=8, max_size=8))
def test_no_split_beats_the_best_one(rates_bps: list[float], parts: list[float]) -> None:
    total = sum(parts[: len(rates_bps)])
    shares = [part / total if total > 0 else 1 / len(rates_bps) for part in parts[: len(rates_bps)]]
    best_s = ideal.best_split_s(encoded_bytes=1_000_000, rates_bps=rates_bps)
    assert ideal.split_s(encoded_bytes=1_000_000, rates_bps=rates_bps, shares=shares) >= best_s * (1 - 1e-9)


def test_two_regions_send_the_vector_over_the_border_once() -> None:
    assert ideal.border_s(encoded_bytes=1_000_000, regions=2, rate_bps=8e6) == pytest.approx(1.0)
