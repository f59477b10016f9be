"""Properties of the codecs: error bounds, and decoders that only ever raise ProtocolError."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from swarm.errors import ProtocolError
from swarm.vector.codec import MAX_MAGNITUDE, Float32Codec, Int8Block, make_codec
from swarm.vector.grid import Vector

vectors = hnp.arrays(
    np.float32,
    st.integers(0, 70),
    elements=st.floats(-MAX_MAGNITUDE, MAX_MAGNITUDE, width=32) | st.floats(-2, 2, width=32),
)
blocks = st.integers(1, 80)


@given(values=vectors, block=blocks)
def test_int8_error_is_at_most_half_a_scale(values: Vector, block: int) -> None:
    codec = Int8Block(block)
    decoded = codec.decode(codec.encode(values), values.size)
    for start in range(0, values.size, block):
        part, back = values[start : start + block].astype(np.float64), decoded[start : start + block]
        scale = np.abs(part).max() / 127
        # half a scale with some units in the last place, or the whole of a block too small for a normal scale
        bound = scale * 0.50005 if scale > 1.2e-38 else scale * 127
        assert np.abs(part - back).max() <= bound


@given(values=vectors, block=blocks)
def test_encoding_passes_its_own_check_and_is_stable(values: Vector, block: int) -> None:
    codec = Int8Block(block)
    data = codec.encode(values)
    codec.check(data, values.size)
    assert data == Int8Block(block).encode(values)


@given(values=vectors)
def test_float32_is_lossless(values: Vector) -> None:
    codec = Float32Codec()
    assert codec.decode(codec.encode(values), values.size).tobytes() == values.tobytes()


@given(
    name=st.sampled_from(["int8", "float32"]),
    data=st.binary(max_size=120),
    elements=st.integers(0, 60),
    block=blocks,
    fit=st.booleans(),
)
def test_decoders_never_crash_and_accept_only_finite_values(
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
