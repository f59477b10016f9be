"""The compiled loops beside the plain ones, bit for bit, and what they do with sizes that do not go together."""

import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from swarm.vector import plain_kernels
from swarm.vector.bounds import MAX_MAGNITUDE, Codes, ScaleBits
from swarm.vector.codec import Int4Block, Int8Block
from swarm.vector.grid import Vector
from swarm.vector.kernels import ARE_COMPILED, Kernels, kernels

BOTH = (kernels, plain_kernels)
SIZES = [(0, 128), (1, 128), (127, 128), (128, 128), (1000, 128), (4096, 64), (777, 7), (300_000, 128), (50, 1)]


def values_of(elements: int) -> Vector:
    """Gaussian at many magnitudes, with blocks of zeros and subnormal values."""
    rng = np.random.default_rng(elements)
    values = rng.standard_normal(elements).astype(np.float32) * np.float32(2.0) ** rng.integers(-20, 20, elements)
    values = values.astype(np.float32)
    values[: elements // 5] *= np.float32(1e-43)
    values[elements // 5 : elements // 4] = 0.0
    values[elements // 2 :: 9] = -0.0
    return values


def quantised(by: Kernels, values: Vector, block: int, limit: int) -> tuple[ScaleBits, Codes, Vector]:
    bits = np.empty(-(-values.size // block), np.uint16)
    codes, lost = np.empty(values.size, np.int8), np.empty_like(values)
    by.scales(values, block, bits, limit)
    by.quantise(values, block, bits, codes, lost)
    bare = np.empty_like(codes)
    by.quantise(values, block, bits, bare, None)
    assert np.array_equal(bare, codes)
    return bits, codes, lost


def bits_of(array: npt.NDArray[np.float32]) -> bytes:
    return (array + np.float32(0)).tobytes()  # one zero


def test_they_are_compiled_where_that_is_possible() -> None:
    is_possible = shutil.which("cc") is not None and (Path(sysconfig.get_path("include")) / "Python.h").exists()
    assert ARE_COMPILED or not is_possible, "installing compiles swarm/vector/_kernels.c; it must have failed"


@pytest.mark.parametrize("limit", [127, 7])
@pytest.mark.parametrize(("elements", "block"), SIZES)
def test_both_write_the_same(elements: int, block: int, limit: int) -> None:
    values = values_of(elements)
    (bits, codes, lost), (plain_bits, plain_codes, plain_lost) = (quantised(by, values, block, limit) for by in BOTH)
    assert np.array_equal(bits, plain_bits)
    halfway = codes != plain_codes
    assert halfway.sum() <= max(1, elements // 10_000)
    assert np.abs(codes.astype(int) - plain_codes)[halfway].max(initial=0) <= 1
    assert bits_of(lost[~halfway]) == bits_of(plain_lost[~halfway])


@pytest.mark.parametrize("weight", [1.0, 3.0, 2.0**20 - 1])
@pytest.mark.parametrize(("elements", "block"), SIZES)
def test_both_read_the_same(elements: int, block: int, weight: float) -> None:
    bits, codes, _ = quantised(plain_kernels, values_of(elements), block, 127)
    written, summed = [np.empty(elements, np.float32) for _ in BOTH], [values_of(elements) for _ in BOTH]
    for by, out, total in zip(BOTH, written, summed, strict=True):
        by.dequantise(codes, block, bits, weight, out)
        by.accumulate(codes, block, bits, weight, total)
    assert bits_of(written[0]) == bits_of(written[1])
    assert bits_of(summed[0]) == bits_of(summed[1])


@pytest.mark.parametrize("by", BOTH)
def test_the_largest_of_all_is_told_even_if_it_is_none(by: Kernels) -> None:
    values = values_of(1000)
    bits = np.empty(8, np.uint16)
    assert by.scales(values, 128, bits, 127) == np.abs(values).max()
    assert by.scales(values[:0], 128, bits[:0], 127) == 0.0
    for bad in (np.inf, -np.inf, np.nan, -np.nan):
        values[777] = bad
        found = by.scales(values, 128, bits, 127)
        assert not found <= MAX_MAGNITUDE, (bad, found)


@pytest.mark.parametrize("by", BOTH)
@pytest.mark.parametrize("elements", [130, 256])
def test_each_fault_is_named(by: Kernels, elements: int) -> None:
    bits, codes = np.array([0x3F80, 0], np.uint16), np.ones(elements, np.int8)
    codes[128:] = 0
    assert by.check(codes, 128, bits, 0x7000, 127) == ""
    for bad in (0x7001, 0x7F80, 0x7FC0, 0x8000, 0xBF80, 0x007F, 1):
        for place in (0, 1):
            spoiled = bits.copy()
            spoiled[place] = bad
            assert by.check(codes, 128, spoiled, 0x7000, 127) == "scale", hex(bad)
    for place in (0, 127):
        spoiled = codes.copy()
        spoiled[place] = -128
        assert by.check(spoiled, 128, bits, 0x7000, 127) == "code"
    for place in (128, elements - 1):
        spoiled = codes.copy()
        spoiled[place] = 1
        assert by.check(spoiled, 128, bits, 0x7000, 127) == "zero scale"


@pytest.mark.skipif(not ARE_COMPILED, reason="the plain kernels have numpy's own errors")
def test_sizes_that_do_not_go_together_are_refused() -> None:
    values, bits, codes = np.zeros(256, np.float32), np.zeros(2, np.uint16), np.zeros(256, np.int8)
    calls: list[Callable[[], object]] = [
        lambda: kernels.scales(values, 128, bits[:1], 127),
        lambda: kernels.scales(values, 0, bits, 127),
        lambda: kernels.quantise(values, 128, bits, codes[:-1], None),
        lambda: kernels.quantise(values, 128, bits, codes, values[:-1]),
        lambda: kernels.quantise(values, 64, bits, codes, None),
        lambda: kernels.check(codes[:-129], 128, bits, 0x7000, 127),
        lambda: kernels.dequantise(codes, 128, bits, 1.0, values[:-1]),
        lambda: kernels.accumulate(codes, 128, bits[:-1], 1.0, values),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"buffer \d has \d+ bytes|a block needs"):
            call()
    shifted = np.zeros(5, np.uint8)[1:].view(np.uint16)
    with pytest.raises(ValueError, match="not aligned"):
        kernels.dequantise(codes, 128, shifted, 1.0, values)
    fixed = np.zeros(256, np.float32)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        kernels.quantise(values, 128, bits, codes, fixed)
    with pytest.raises((BufferError, TypeError, ValueError)):
        kernels.dequantise(codes, 128, bits, 1.0, np.zeros(512, np.float32)[::2])


@pytest.mark.parametrize("codec", [Int8Block(128), Int4Block(64)])
def test_a_codec_writes_the_same_bytes_with_either(
    codec: Int8Block | Int4Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(3).standard_normal(300_001).astype(np.float32)
    data, decoded = codec.encode(values), codec.decode(codec.encode(values), values.size)
    monkeypatch.setattr("swarm.vector.blocks.kernels", plain_kernels)
    plain = codec.encode(values)
    assert len(plain) == len(data)
    assert sum(a != b for a, b in zip(plain, data, strict=True)) <= 30
    assert bits_of(codec.decode(data, values.size)) == bits_of(decoded)
