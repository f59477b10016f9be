"""The codecs against a slow oracle, at their edges, and on bytes no honest peer writes."""

import struct
from typing import get_args, get_type_hints

import numpy as np
import pytest

from swarm.charter.manifest import Reduce
from swarm.errors import ProtocolError
from swarm.vector.codec import (
    MAX_MAGNITUDE,
    Bfloat16Codec,
    Codec,
    Float32Codec,
    Int4Block,
    Int8Block,
    make_codec,
)
from swarm.vector.grid import Vector

CODECS = [
    Int8Block(256),
    Int8Block(7),
    Int8Block(200_000),
    Int4Block(64),
    Int4Block(7),
    Bfloat16Codec(),
    Float32Codec(),
]
ONE = 0x3F80
"""1.0 as bfloat16 bits."""
SIGNALLING_NAN = 0x7F800001


def gaussian(elements: int, seed: int = 0) -> Vector:
    return np.random.default_rng(seed).standard_normal(elements).astype(np.float32)


def slow_scale(largest: np.float32) -> float:
    """A bfloat16 near `largest`, searched instead of computed."""
    bits = int(np.float32(largest).view(np.uint32)) >> 16
    candidates = np.array([bits << 16, (bits + 1) << 16], np.uint32).view(np.float32)
    return float(min(candidates, key=lambda scale: abs(float(scale) - float(largest))))


def slow_blocks(values: Vector, block: int, limit: int) -> tuple[list[float], list[int]]:
    """The definition, one value at a time, in double precision but for the scale."""
    scales: list[float] = []
    codes: list[int] = []
    for start in range(0, len(values), block):
        part = values[start : start + block]
        scales.append(slow_scale(np.float32(max(abs(part)) / np.float32(limit))))
        codes += [round(float(value) / scales[-1]) for value in part]
    return scales, codes


def scale_bits(scale: float) -> int:
    return int(np.float32(scale).view(np.uint32)) >> 16


@pytest.mark.parametrize(("elements", "block"), [(1, 256), (255, 256), (256, 256), (1000, 256), (50, 7)])
def test_int8_layout_and_values_match_the_definition(elements: int, block: int) -> None:
    values = gaussian(elements)
    data = Int8Block(block).encode(values)
    scales, codes = slow_blocks(values, block, 127)
    assert data == struct.pack(f"<{len(scales)}H{elements}b", *map(scale_bits, scales), *codes)
    decoded = Int8Block(block).decode(data, elements)
    slow = [code * scales[i // block] for i, code in enumerate(codes)]
    assert decoded.astype(np.float64).tolist() == slow  # exact in float32 as well


@pytest.mark.parametrize("codec", [Int8Block(128), Int8Block(204_800), Int4Block(64)], ids=lambda codec: codec.name)
def test_tiles_do_not_show(codec: Codec) -> None:
    values = gaussian(500_001)
    decoded = codec.decode(codec.encode(values), values.size)
    step = 204_800  # whole blocks of each codec, across the edges of its tiles
    for start in range(0, values.size, step):
        part = values[start : start + step]
        assert codec.decode(codec.encode(part), part.size).tobytes() == decoded[start : start + step].tobytes()


@pytest.mark.parametrize(("elements", "block"), [(1, 64), (2, 64), (63, 64), (64, 64), (1001, 64), (50, 7)])
def test_int4_layout_and_values_match_the_definition(elements: int, block: int) -> None:
    values = gaussian(elements)
    data = Int4Block(block).encode(values)
    scales, codes = slow_blocks(values, block, 7)
    half = (elements + 1) // 2
    low, high = codes[:half], [*codes[half:], 0][:half]
    packed = bytes((a & 15) | (b & 15) << 4 for a, b in zip(low, high, strict=True))
    assert data == struct.pack(f"<{len(scales)}H", *map(scale_bits, scales)) + packed
    decoded = Int4Block(block).decode(data, elements)
    assert decoded.astype(np.float64).tolist() == [code * scales[i // block] for i, code in enumerate(codes)]


def test_halves_round_to_even() -> None:
    values = np.array([127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, -127], np.float32)
    data = Int8Block(8).encode(values)
    assert struct.unpack("<H8b", data) == (ONE, 127, 0, 2, 2, 0, -2, -2, -127)


def test_bfloat16_is_the_nearest_and_of_two_the_even_one() -> None:
    bits = [0x3F800000, 0x3F807FFF, 0x3F808000, 0x3F808001, 0x3F818000, 0xBF818000, 0x80000000, 0x00018000]
    nearest = [0x3F80, 0x3F80, 0x3F80, 0x3F81, 0x3F82, 0xBF82, 0x8000, 0x0002]
    values = np.array(bits, np.uint32).view(np.float32)
    codec = Bfloat16Codec()
    data = codec.encode(values)
    assert struct.unpack("<8H", data) == tuple(nearest)
    assert codec.decode(data, 8).view(np.uint32).tolist() == [upper << 16 for upper in nearest]


@pytest.mark.parametrize(
    ("codec", "most"),
    [(Int8Block(128), 0.0066), (Int4Block(64), 0.109), (Bfloat16Codec(), 0.0017)],
    ids=["int8", "int4", "bfloat16"],
)
def test_rms_error_on_a_gaussian(codec: Codec, most: float) -> None:
    values = gaussian(262_144)
    error = codec.decode(codec.encode(values), values.size) - values
    assert most / 2 < np.sqrt(np.mean(error**2)) < most


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: f"{codec.name}-{codec.encoded_bytes(1000)}")
@pytest.mark.parametrize("elements", [0, 1, 256, 70_001, 262_145])
def test_all_readers_agree(codec: Codec, elements: int) -> None:
    values = gaussian(elements)
    data = codec.encode(values)
    assert len(data) == codec.encoded_bytes(elements)
    decoded = codec.decode(memoryview(data), elements)
    assert decoded.dtype == np.float32 and decoded.shape == (elements,)

    out = np.full(elements, 7, np.float32)
    codec.decode_into(data, out)
    assert out.tobytes() == decoded.tobytes()

    total = gaussian(elements, 1)
    expected = total + np.float32(3) * decoded
    codec.accumulate(bytearray(data), elements, 3, total)
    assert total.tobytes() == expected.tobytes()
    codec.accumulate(data, elements, 1, total, is_checked=True)
    assert total.tobytes() == (expected + decoded).tobytes()
    codec.accumulate(data, elements, 3, total, is_first=True)
    assert total.tobytes() == (np.float32(3) * decoded).tobytes()


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: f"{codec.name}-{codec.encoded_bytes(1000)}")
@pytest.mark.parametrize("elements", [0, 1, 70_001, 262_145])
def test_what_is_lost_is_the_value_less_the_decoded(codec: Codec, elements: int) -> None:
    values = gaussian(elements)
    values[::17] = -0.0
    lost = np.full(elements, 7, np.float32)
    data = codec.encode(values, lost)
    assert data == codec.encode(values)
    assert lost.tobytes() == (values - codec.decode(data, elements)).tobytes()


def test_is_checked_reads_what_a_check_would_refuse() -> None:
    data = struct.pack("<H3b", ONE, 5, -128, 1)
    out = np.empty(3, np.float32)
    Int8Block(4).decode_into(data, out, is_checked=True)
    assert out.tolist() == [5, -128, 1]


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: f"{codec.name}-{codec.encoded_bytes(1000)}")
def test_unaligned_bytes_decode_alike(codec: Codec) -> None:
    values = gaussian(100)
    data = codec.encode(values)
    shifted = memoryview(b"x" + data)[1:]
    assert codec.decode(shifted, 100).tobytes() == codec.decode(data, 100).tobytes()


def test_encoding_reads_a_slice_and_leaves_it() -> None:
    values = gaussian(1000)
    before = values.copy()
    part = values[3:700]
    part.flags.writeable = False
    assert Int8Block(64).encode(part) == Int8Block(64).encode(before[3:700].copy())
    assert values.tobytes() == before.tobytes()


def test_zeros_have_scale_zero() -> None:
    zeros = np.array([0, -0.0, 0, 0, -0.0, -0.0], np.float32)
    assert Int8Block(4).encode(zeros) == bytes(2 * 2 + 6)
    assert Int4Block(4).encode(zeros) == bytes(2 * 2 + 3)


@pytest.mark.parametrize("tiny", [1e-45, 1e-40, 1.2e-38, 1e-36, 1.6e-36])
def test_tiny_values_never_become_infinite(tiny: float) -> None:
    values = np.array([tiny, -tiny, tiny / 3], np.float32)
    for codec, limit in ((Int8Block(4), 127), (Int4Block(4), 7)):
        decoded = codec.decode(codec.encode(values), 3)
        assert np.isfinite(decoded).all()
        assert np.abs(decoded - values).max() <= max(limit * np.finfo(np.float32).tiny, tiny / limit)


def test_the_largest_values_survive() -> None:
    values = np.array([MAX_MAGNITUDE, -MAX_MAGNITUDE, 1], np.float32)
    for codec in CODECS:
        decoded = codec.decode(codec.encode(values), 3)
        assert np.allclose(decoded, values, rtol=2**-8, atol=MAX_MAGNITUDE / 7)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: f"{codec.name}-{codec.encoded_bytes(1000)}")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2.0**101, -(2.0**101)])
@pytest.mark.parametrize("where", [0, 70_000])
def test_encode_refuses_what_is_not_finite_or_too_large(codec: Codec, bad: float, where: int) -> None:
    values = gaussian(70_001)
    values[where] = bad
    with pytest.raises(ValueError, match="did training diverge"):
        codec.encode(values)


def test_a_signalling_nan_is_refused_without_a_warning() -> None:
    values = np.array([SIGNALLING_NAN], np.uint32).view(np.float32)
    for codec in CODECS:
        with pytest.raises(ValueError, match="NaN"):
            codec.encode(values)
    with pytest.raises(ProtocolError):
        Float32Codec().check(values.tobytes(), 1)


def test_a_refused_chunk_changes_nothing() -> None:
    refused = [
        (Int8Block(4), struct.pack("<H3b", ONE, 5, -128, 1)),
        (Int4Block(4), struct.pack("<H2B", ONE, 0x08, 0x01)),
        (Bfloat16Codec(), struct.pack("<3H", ONE, ONE, 0x7F80)),
        (Float32Codec(), struct.pack("<3f", 1, 2, np.inf)),
    ]
    for codec, data in refused:
        total = gaussian(3)
        before = total.tobytes()
        with pytest.raises(ProtocolError):
            codec.accumulate(data, 3, 1, total)
        with pytest.raises(ProtocolError):
            codec.decode_into(data, total)
        with pytest.raises(ProtocolError):
            codec.decode(data, 3)
        assert total.tobytes() == before


def test_the_largest_that_an_encoder_writes_is_the_largest_accepted() -> None:
    largest = np.array([MAX_MAGNITUDE], np.float32)
    for codec in (Int8Block(1), Int4Block(1), Bfloat16Codec(), Float32Codec()):
        data = codec.encode(largest)
        codec.check(data, 1)
        # of a block codec the scale lies in front, of the others the only value: one unit more is too much
        width = 2 if codec.name.startswith("int") else len(data)
        above = (int.from_bytes(data[:width], "little") + 1).to_bytes(width, "little") + data[width:]
        with pytest.raises(ProtocolError, match="out of range"):
            codec.check(above, 1)


@pytest.mark.parametrize("block", [1, 4, 6, 7])
def test_a_zero_scale_admits_no_code_in_any_block(block: int) -> None:
    elements = 6
    codec = Int8Block(block)
    for at in range(elements):
        data = bytearray(codec.encode(np.zeros(elements, np.float32)))
        data[len(data) - elements + at] = 1
        with pytest.raises(ProtocolError, match="scale zero"):
            codec.check(data, elements)
        data[2 * (at // block) : 2 * (at // block) + 2] = struct.pack("<H", ONE)
        codec.check(data, elements)


def test_make_codec() -> None:
    assert make_codec("int8", 256).encoded_bytes(257) == 2 * 2 + 257
    assert make_codec("int4", 256).encoded_bytes(257) == 2 * 2 + 129
    assert make_codec("bfloat16", 256).encoded_bytes(257) == 2 * 257
    assert make_codec("float32", 256).encoded_bytes(257) == 4 * 257
    with pytest.raises(ValueError, match="fp4"):
        make_codec("fp4", 256)
    with pytest.raises(ValueError, match="block"):
        make_codec("int8", 0)


def test_every_codec_a_charter_can_name_can_be_made() -> None:
    names = get_args(get_type_hints(Reduce)["codec"])
    assert {make_codec(name, 128).name for name in names} == set(names) == {codec.name for codec in CODECS}
