"""What may travel: the largest magnitude, the size of an encoding, and the sentences for what breaks a rule.

Shared by the codecs; knows none of them.
"""

import numpy as np
import numpy.typing as npt

from swarm.errors import ProtocolError
from swarm.vector.grid import Vector

MAX_MAGNITUDE = 2.0**100
"""Largest absolute value that may travel: 255 peers at weight 2**20 still sum to a finite float32."""

MIN_SCALE_BITS = 0x0080
"""The smallest normal bfloat16. A block's scale that rounds to less is written as zero: its inverse could overflow."""

Codes = npt.NDArray[np.int8]
"""One code per element, unpacked."""
ScaleBits = npt.NDArray[np.uint16]
"""One bfloat16 per block, as its bits."""
Buffer = bytes | bytearray | memoryview
"""Encoded bytes as a reader takes them."""


def check_size(data: Buffer, expected_bytes: int) -> None:
    """Raises ProtocolError unless `data` has exactly the bytes that are due."""
    size_bytes = memoryview(data).nbytes
    if size_bytes != expected_bytes:
        raise ProtocolError(f"an encoded chunk has {size_bytes} bytes where {expected_bytes} are due")


def all_fit(values_N: Vector) -> bool:
    """Whether every value is finite and at most `MAX_MAGNITUDE`. A NaN makes both comparisons false."""
    # a signalling NaN sets the invalid flag, which must not become a warning
    with np.errstate(invalid="ignore"):
        return values_N.size == 0 or bool(values_N.min() >= -MAX_MAGNITUDE and values_N.max() <= MAX_MAGNITUDE)


def unfit(values_N: Vector) -> str:
    """The sentence for values that are not all fit to travel."""
    bad = int(np.count_nonzero(~np.isfinite(values_N)))
    if bad:
        return f"{bad} of {values_N.size} values to encode are NaN or infinite; did training diverge?"
    return f"a value to encode exceeds 2**100 ({float(np.abs(values_N).max()):.3g}); did training diverge?"
