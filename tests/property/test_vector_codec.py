"""Properties of the codecs: error bounds, what is lost, sums, and readers that accept only what an encoder writes."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from swarm.errors import ProtocolError
from swarm.vector.codec import MAX_MAGNITUDE, Codec, Int4Block, Int8Block, make_codec
from swarm.vector.grid import Vector

NAMES = ["float32", "bfloat16", "int8", "int4"]
LIMITS = {"int8": 127, "int4": 7}
SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)

any_value = (
    st.floats(-MAX_MAGNITUDE, MAX_MAGNITUDE, width=32) | st.floats(-2, 2, width=32) | st.sampled_from([0.0, -0.0])
)
vectors = hnp.arrays(np.float32, st.integers(0, 70), elements=any_value)
blocks = st.integers(1, 80)
names = st.sampled_from(NAMES)
blockwise = st.sampled_from(sorted(LIMITS))


def same_bits(a: Vector, b: Vector) -> bool:
    return a.dtype == b.dtype == np.float32 and a.tobytes() == b.tobytes()


@given(name=blockwise, values=vectors, block=blocks)
def test_a_blockwise_error_is_at_most_half_a_scale(name: str, values: Vector, block: int) -> None:
    codec = make_codec(name, block)
    decoded = codec.decode(codec.encode(values), values.size)
    for start in range(0, values.size, block):
        part, back = values[start : start + block].astype(np.float64), decoded[start : start + block]
        largest = np.abs(part).max()
        # half a scale, which itself was rounded by up to 1/256; or all of a block too small for a normal scale
        is_tiny = largest <= SMALLEST_NORMAL * LIMITS[name]
        bound = SMALLEST_NORMAL * LIMITS[name] if is_tiny else largest / LIMITS[name] / 2 * (1 + 2**-8)
        assert np.abs(part - back).max() <= bound


@given(values=vectors)
def test_a_bfloat16_error_is_at_most_half_a_unit(values: Vector) -> None:
    codec = make_codec("bfloat16", 1)
    decoded = codec.decode(codec.encode(values), values.size)
    bound = np.maximum(np.abs(values.astype(np.float64)) * 2**-8, 2.0**-134)
    assert (np.abs(values.astype(np.float64) - decoded) <= bound).all()


@given(values=vectors)
def test_float32_is_lossless(values: Vector) -> None:
    codec = make_codec("float32", 1)
    assert same_bits(codec.decode(codec.encode(values), values.size), values)


@given(name=names, values=vectors, block=blocks)
def test_encoding_passes_its_own_check_and_is_stable(name: str, values: Vector, block: int) -> None:
    data = make_codec(name, block).encode(values)
    assert len(data) == make_codec(name, block).encoded_bytes(values.size)
    make_codec(name, block).check(data, values.size)
    assert data == make_codec(name, block).encode(values)


@given(name=names, values=vectors, block=blocks)
def test_what_is_lost_is_exact_and_changes_no_byte(name: str, values: Vector, block: int) -> None:
    codec = make_codec(name, block)
    lost = np.full(values.size, 7, np.float32)
    data = codec.encode(values, lost)
    assert data == codec.encode(values)
    assert same_bits(lost, values - codec.decode(data, values.size))


@given(name=names, values=vectors, block=blocks)
def test_encoding_the_decoded_gives_the_same_bytes(name: str, values: Vector, block: int) -> None:
    codec = make_codec(name, block)
    data = codec.encode(values)
    decoded = codec.decode(data, values.size)
    # the largest code times a scale that was rounded up may exceed the largest value by one part in 512
    assume(np.abs(decoded).max(initial=0) <= MAX_MAGNITUDE)
    assert codec.encode(decoded) == data


@given(
    name=names,
    values=vectors,
    block=blocks,
    weight=st.integers(1, 2**20),
    is_first=st.booleans(),
    is_checked=st.booleans(),
)
def test_accumulate_adds_the_weighted_values(
    name: str, values: Vector, block: int, weight: int, is_first: bool, is_checked: bool
) -> None:
    codec = make_codec(name, block)
    data = codec.encode(values)
    before = np.linspace(-3, 3, values.size, dtype=np.float32)
    total = before.copy()
    codec.accumulate(data, values.size, weight, total, is_first, is_checked)
    term = codec.decode(data, values.size).astype(np.float64) * weight
    exact = term if is_first else before + term
    # three roundings to float32: the weighted scale, the product, the sum
    bound = (np.abs(term) * 2 + np.abs(exact)) * 2.0**-24 + 2.0**-149
    assert (np.abs(total - exact) <= bound).all()


@given(name=names, values=vectors, block=blocks)
def test_with_weight_one_a_sum_rounds_once(name: str, values: Vector, block: int) -> None:
    codec = make_codec(name, block)
    data = codec.encode(values)
    total = np.linspace(-3, 3, values.size, dtype=np.float32)
    expected = total + codec.decode(data, values.size)
    codec.accumulate(data, values.size, 1, total)
    assert same_bits(total, expected)


@given(name=names, data=st.binary(max_size=120), elements=st.integers(0, 60), block=blocks, fit=st.booleans())
def test_readers_never_crash_and_accept_only_finite_values(
    name: str, data: bytes, elements: int, block: int, fit: bool
) -> None:
    codec = make_codec(name, block)
    if fit:
        # the right size more often than chance would have it
        data = (data * 300)[: codec.encoded_bytes(elements)]
    total = np.zeros(elements, np.float32)
    try:
        decoded = codec.decode(data, elements)
    except ProtocolError:
        return
    assert decoded.shape == (elements,) and np.isfinite(decoded).all()
    codec.accumulate(data, elements, 2**20, total)
    assert np.isfinite(total).all()


@given(name=names, values=vectors, block=blocks, cut=st.integers(-3, 3).filter(bool))
def test_another_size_is_refused(name: str, values: Vector, block: int, cut: int) -> None:
    codec = make_codec(name, block)
    data = codec.encode(values)
    wrong = data[:cut] if cut < 0 else data + bytes(cut)
    assume(len(wrong) != len(data))
    refused(codec, wrong, values.size, "bytes where")


BAD_SCALES = {
    "infinity": 0x7F80,
    "negative infinity": 0xFF80,
    "NaN": 0x7FC0,
    "signalling NaN": 0x7F81,
    "negative": 0xBF80,
    "negative zero": 0x8000,
    "subnormal": 0x0001,
    "largest subnormal": 0x007F,
    "1e38": 0x7E96,
}


@pytest.mark.parametrize("bits", BAD_SCALES.values(), ids=BAD_SCALES.keys())
@given(
    name=blockwise,
    values=hnp.arrays(np.float32, st.integers(1, 70), elements=any_value),
    block=blocks,
    at=st.integers(0),
)
def test_a_bad_scale_is_refused(bits: int, name: str, values: Vector, block: int, at: int) -> None:
    codec = make_codec(name, block)
    data = bytearray(codec.encode(values))
    where = 2 * (at % -(-values.size // block))
    data[where : where + 2] = bits.to_bytes(2, "little")
    refused(codec, bytes(data), values.size, "scale that is")


@given(values=hnp.arrays(np.float32, st.integers(1, 70), elements=any_value), block=blocks, at=st.integers(0))
def test_int8_refuses_the_code_that_no_encoder_writes(values: Vector, block: int, at: int) -> None:
    codec = Int8Block(block)
    data = bytearray(codec.encode(values))
    data[len(data) - 1 - at % values.size] = 0x80
    refused(codec, bytes(data), values.size, "code -128")


@given(values=hnp.arrays(np.float32, st.integers(1, 70), elements=any_value), block=blocks, at=st.integers(0))
def test_int4_refuses_the_code_that_no_encoder_writes(values: Vector, block: int, at: int) -> None:
    codec = Int4Block(block)
    data = bytearray(codec.encode(values))
    half = (values.size + 1) // 2
    element = at % values.size
    where = len(data) - half + element % half
    data[where] = (data[where] & 0xF0) | 0x08 if element < half else (data[where] & 0x0F) | 0x80
    refused(codec, bytes(data), values.size, "code -8")


@given(
    values=hnp.arrays(np.float32, st.integers(0, 30).map(lambda n: 2 * n + 1), elements=any_value),
    block=blocks,
    padding=st.integers(1, 15),
)
def test_int4_refuses_padding_that_is_not_zero(values: Vector, block: int, padding: int) -> None:
    codec = Int4Block(block)
    data = bytearray(codec.encode(values))
    assert data[-1] < 16
    data[-1] |= padding << 4
    refused(codec, bytes(data), values.size, "padding")


@given(name=blockwise, elements=st.integers(1, 70), block=blocks, at=st.integers(0))
def test_a_zero_scale_with_a_code_is_refused(name: str, elements: int, block: int, at: int) -> None:
    codec = make_codec(name, block)
    data = bytearray(codec.encode(np.zeros(elements, np.float32)))
    codec.check(bytes(data), elements)
    data[-1 - at % (len(data) - 2 * -(-elements // block))] = 1
    refused(codec, bytes(data), elements, "scale zero")


@given(
    name=st.sampled_from(["float32", "bfloat16"]), values=vectors.filter(len), at=st.integers(0), kind=st.integers(0, 5)
)
def test_a_value_that_is_not_fit_is_refused(name: str, values: Vector, at: int, kind: int) -> None:
    codec = make_codec(name, 1)
    data = bytearray(codec.encode(values))
    bad = np.array([np.nan, np.inf, -np.inf, 2.0**101, -(2.0**101), 1e38], np.float32)[kind : kind + 1].tobytes()
    width = len(data) // values.size
    where = at % values.size * width
    data[where : where + width] = bad[-width:]
    refused(codec, bytes(data), values.size, "not finite")


def refused(codec: Codec, data: bytes, elements: int, why: str) -> None:
    """Every reader refuses these bytes and leaves what it was given alone."""
    total = np.full(elements, 5, np.float32)
    with pytest.raises(ProtocolError, match=why):
        codec.check(data, elements)
    with pytest.raises(ProtocolError, match=why):
        codec.decode_into(data, total)
    for is_first in (False, True):
        with pytest.raises(ProtocolError, match=why):
            codec.accumulate(data, elements, 1, total, is_first)
    assert (total == 5).all()
