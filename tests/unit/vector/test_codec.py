"""The codecs against a slow oracle, at their edges, and on bytes no honest peer writes."""

import struct

import numpy as np
import pytest

from swarm.errors import ProtocolError
from swarm.vector.codec import MAX_MAGNITUDE, Codec, Float32Codec, Int8Block, make_codec
from swarm.vector.grid import Vector

CODECS = [Int8Block(256), Int8Block(7), Int8Block(200_000), Float32Codec()]
SIGNALLING_NAN = 0x7F800001


def gaussian(elements: int, seed: int = 0) -> Vector:
    return np.random.default_rng(seed).standard_normal(elements).astype(np.float32)


def slow_int8(values: Vector, block: int) -> tuple[list[np.float32], list[int]]:
    """The definition, one value at a time, in double precision but for the scale."""
    scales: list[np.float32] = []
    codes: list[int] = []
    for start in range(0, len(values), block):
        part = values[start : start + block]
        scale = np.float32(max(abs(value) for value in part) / np.float32(127))
        scales.append(scale)
        codes += [round(float(value) / float(scale)) if scale else 0 for value in part]
    return scales, codes


@pytest.mark.parametrize(("elements", "block"), [(1, 256), (255, 256), (256, 256), (1000, 256), (50, 7)])
def test_int8_layout_and_values_match_the_definition(elements: int, block: int) -> None:
    values = gaussian(elements)
    data = Int8Block(block).encode(values)
    scales, codes = slow_int8(values, block)
    assert data == struct.pack(f"<{len(scales)}f{elements}b", *scales, *codes)
    decoded = Int8Block(block).decode(data, elements)
    slow = [np.float32(code) * scales[i // block] for i, code in enumerate(codes)]
    assert decoded.tobytes() == np.array(slow, np.float32).tobytes()


def test_halves_round_to_even() -> None:
    values = np.array([127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, -127], np.float32)
    data = Int8Block(8).encode(values)
    assert struct.unpack("<f8b", data) == (1.0, 127, 0, 2, 2, 0, -2, -2, -127)


def test_rms_error_on_a_gaussian() -> None:
    values = gaussian(262_144)
    codec = Int8Block(256)
    error = codec.decode(codec.encode(values), values.size) - values
    assert np.sqrt(np.mean(error**2)) < 0.0072


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: f"{codec.name}-{codec.encoded_bytes(1000)}")
@pytest.mark.parametrize("elements", [0, 1, 256, 70_001, 262_144])
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
    codec.accumulate(data, elements, 1, total)
    assert total.tobytes() == (expected + decoded).tobytes()


def test_unaligned_bytes_decode_alike() -> None:
    codec = Int8Block(16)
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
    assert Int8Block(4).encode(np.zeros(6, np.float32)) == bytes(2 * 4 + 6)


@pytest.mark.parametrize("tiny", [1e-45, 1e-40, 1.2e-38, 1e-36, 1.6e-36])
def test_tiny_values_never_become_infinite(tiny: float) -> None:
    values = np.array([tiny, -tiny, tiny / 3], np.float32)
    codec = Int8Block(4)
    decoded = codec.decode(codec.encode(values), 3)
    assert np.isfinite(decoded).all()
    assert np.abs(decoded - values).max() <= 127 * np.finfo(np.float32).tiny


def test_the_largest_values_survive() -> None:
    values = np.array([MAX_MAGNITUDE, -MAX_MAGNITUDE, 1], np.float32)
    for codec in CODECS:
        decoded = codec.decode(codec.encode(values), 3)
        assert np.allclose(decoded, values, rtol=1e-6, atol=MAX_MAGNITUDE / 127)


@pytest.mark.parametrize("codec", CODECS[:1] + CODECS[-1:], ids=lambda codec: codec.name)
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


@pytest.mark.parametrize(
    "bits",
    [0x7F800000, 0xFF800000, 0x7FC00000, SIGNALLING_NAN, 0xBF800000, 0x80000000, 0x00000001, 0x7F7FFFFF],
    ids=["inf", "-inf", "nan", "signalling nan", "-1", "-0", "subnormal", "largest float"],
)
def test_bad_scales_are_refused(bits: int) -> None:
    codec = Int8Block(2)
    data = struct.pack("<fI3b", 1.0, bits, 1, 2, 3)
    with pytest.raises(ProtocolError, match="scale"):
        codec.check(data, 3)


def test_a_refused_chunk_changes_nothing() -> None:
    refused = [
        (Int8Block(4), struct.pack("<f3b", 1.0, 5, -128, 1)),
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


@pytest.mark.parametrize("codec", CODECS[:1] + CODECS[-1:], ids=lambda codec: codec.name)
def test_a_wrong_size_is_refused(codec: Codec) -> None:
    data = codec.encode(gaussian(10))
    for wrong in (b"", data[:-1], data + b"\0"):
        with pytest.raises(ProtocolError, match="bytes where"):
            codec.check(wrong, 10)


def test_make_codec() -> None:
    assert make_codec("int8", 256).encoded_bytes(257) == 2 * 4 + 257
    assert make_codec("float32", 256).encoded_bytes(257) == 4 * 257
    with pytest.raises(ValueError, match="fp4"):
        make_codec("fp4", 256)
    with pytest.raises(ValueError, match="block"):
        make_codec("int8", 0)
