"""A safetensors file of float32 vectors, made piece by piece: nothing is copied, and no piece holds other threads up.

`safetensors.numpy.save` copies every vector twice, holding the interpreter's lock: for a gigabyte of state the event
loop stands still for seconds. The format is a length, a JSON header and the vectors' bytes one after the other.
"""

import json
import struct
from collections.abc import Iterator, Mapping

import numpy as np

from swarm.vector.bounds import Buffer

_PIECE_BYTES = 4 * 1024 * 1024
_ALIGNMENT = 8


def safetensors_parts(vectors: Mapping[str, np.ndarray]) -> Iterator[Buffer]:
    """The file's bytes in order, each vector's name first come; vectors are float32 [N], contiguous.

    Their memory is read while the parts are taken and must not change until the last one was.
    """
    header: dict[str, object] = {}
    end = 0
    for name, vector_N in vectors.items():
        assert vector_N.dtype == np.dtype("<f4") and vector_N.ndim == 1 and vector_N.flags.c_contiguous, vector_N.dtype
        header[name] = {"dtype": "F32", "shape": [vector_N.size], "data_offsets": [end, end + vector_N.nbytes]}
        end += vector_N.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    yield struct.pack("<Q", len(text)) + text
    for vector_N in vectors.values():
        data = vector_N.data.cast("B")
        for start in range(0, len(data), _PIECE_BYTES):
            yield data[start : start + _PIECE_BYTES]
