"""Codes and masks of secure sums: exact, unbiased, in range, and gone when all are added."""

from itertools import pairwise

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import ProtocolError
from swarm.vector.grid import Vector
from swarm.vector.masks import add, chunk_key, group_id, mask, pair_secret, stream, unmask
from swarm.vector.secure_codes import SecureCodes, Words, pack_ranges, unpack_ranges

GROUP = group_id("run", 1, b"roster", b"ranges")


def normal(seed: int, elements: int, scale: float = 1.0) -> Vector:
    return (np.random.default_rng(seed).standard_normal(elements) * scale).astype(np.float32)


def noise(seed: int, elements: int) -> Words:
    return stream(chunk_key(seed.to_bytes(32, "little"), GROUP, "rounding", 0), elements)


@given(
    seed=st.integers(0, 1000),
    elements=st.integers(1, 300),
    bits=st.integers(2, 12),
    weights=st.lists(st.integers(1, 4), min_size=3, max_size=5),
)
def test_the_sum_of_masked_parts_is_the_sum_of_codes_exactly(
    seed: int, elements: int, bits: int, weights: list[int]
) -> None:
    codes = SecureCodes(bits, 16)
    if not codes.fits(sum(weights)):
        return
    ranges_K = np.full(codes.blocks(elements), 2.0, np.float32)
    keys = [X25519PrivateKey.from_private_bytes(bytes([seat, *bytes(31)])) for seat in range(len(weights))]
    public = [key.public_key().public_bytes_raw() for key in keys]
    seeds = {seat: bytes([seat, seed % 256, *bytes(30)]) for seat in range(len(weights))}
    total = np.zeros(elements, np.uint16)
    plain = np.zeros(elements, np.int64)
    for seat, weight in enumerate(weights):
        x_N, lost_N = normal(seed + seat, elements, 2.0), np.empty(elements, np.float32)
        code_N = codes.encode(x_N, ranges_K, noise(seat, elements), lost_N)
        assert code_N.max() <= codes.largest
        np.testing.assert_allclose(
            codes.decode_sum(code_N.copy(), ranges_K, 1, np.empty_like(x_N)) + lost_N, x_N, atol=1e-5
        )
        plain += weight * code_N.astype(np.int64)
        pairs = {
            other: chunk_key(pair_secret(keys[seat], public[other]), GROUP, "pair", 7)
            for other in range(len(weights))
            if other != seat
        }
        add(total, mask(code_N, weight, seat=seat, pairs=pairs, own=chunk_key(seeds[seat], GROUP, "self", 7)))
    unmask(total, {seat: chunk_key(own, GROUP, "self", 7) for seat, own in seeds.items()})
    assert (total.astype(np.int64) == plain).all()
    assert codes.is_sum(total, sum(weights))


def test_rounding_is_unbiased_and_clipping_stays_with_the_sender() -> None:
    codes, elements = SecureCodes(4, 8), 8
    x_N = np.array([0.1, 0.33, -0.77, 0.5, 5.0, -5.0, 0.0, 1.0], np.float32)
    ranges_K = np.ones(1, np.float32)
    mean_N, lost_N = np.zeros(elements), np.empty(elements, np.float32)
    for trial in range(4000):
        codes.encode(x_N, ranges_K, noise(trial, elements), lost_N)
        mean_N += (x_N - lost_N) / 4000
    np.testing.assert_allclose(mean_N, np.clip(x_N, -1, 1), atol=0.005)
    assert lost_N[4] == pytest.approx(4.0) and lost_N[5] == pytest.approx(-4.0)


def test_ranges_follow_the_public_mean_and_have_a_floor() -> None:
    codes = SecureCodes(8, 64)
    mean_N = np.concatenate([normal(1, 64, 0.5), np.zeros(64, np.float32), normal(2, 10, 3.0)])
    ranges_K = codes.next_ranges(mean_N, kappa=8.0, floor_rms=0.01)
    rms = [float(np.sqrt(np.mean(part.astype(np.float64) ** 2))) for part in (mean_N[:64], mean_N[128:])]
    np.testing.assert_allclose(ranges_K, [8 * rms[0], 0.08, 8 * rms[1]], rtol=2**-8)
    assert (unpack_ranges(pack_ranges(ranges_K), 3) == ranges_K).all()
    with pytest.raises(ProtocolError, match="above zero"):
        unpack_ranges(pack_ranges(np.zeros(3, np.float32)), 3)
    with pytest.raises(ProtocolError):
        unpack_ranges(pack_ranges(ranges_K), 4)


def test_what_leaves_16_bits_is_seen() -> None:
    assert SecureCodes(8, 1).fits(257) and not SecureCodes(8, 1).fits(258)
    assert SecureCodes(12, 1).fits(16) and not SecureCodes(12, 1).fits(17)
    codes = SecureCodes(8, 1)
    assert codes.is_sum(np.array([3 * 255], np.uint16), 3)
    assert not codes.is_sum(np.array([3 * 255 + 1], np.uint16), 3)


def test_streams_differ_by_key_chunk_purpose_and_group() -> None:
    secret = bytes(32)
    keys = [
        chunk_key(secret, group, purpose, chunk)
        for group in (GROUP, group_id("run", 2, b"roster", b"ranges"), group_id("run", 1, b"other", b"ranges"))
        for purpose in ("pair", "self")
        for chunk in (0, 1)
    ]
    assert len(set(keys)) == len(keys)
    words = stream(keys[0], 100_000)
    assert (words[:1000] == stream(keys[0], 1000)).all()
    assert abs(float(words.mean()) - 32767.5) < 300
    assert all((stream(a, 64) != stream(b, 64)).any() for a, b in pairwise(keys))


def test_a_key_that_gives_no_secret_is_refused() -> None:
    with pytest.raises(ProtocolError, match="no secret"):
        pair_secret(X25519PrivateKey.from_private_bytes(bytes(31) + b"\x01"), bytes(32))


def test_next_ranges_of_one_mean_are_the_same_bits_whatever_its_tiles() -> None:
    mean_N = normal(5, 4096 * 20 + 100)
    small, whole = SecureCodes(8, 4096), SecureCodes(8, 4096).next_ranges(mean_N, kappa=8.0, floor_rms=1e-6)
    apart = [
        small.next_ranges(mean_N[start : start + 8192], kappa=8.0, floor_rms=1e-6)
        for start in range(0, mean_N.size, 8192)
    ]
    assert (np.concatenate(apart) == whole).all()
