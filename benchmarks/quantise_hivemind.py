"""Competitors in `tapestry bench quantise`: hivemind's three 8-bit codecs, by their own `compress` and `extract`.

Imported only when they are measured: hivemind reads the number of its quantile threads at import, and this file sets
it to one, because every contestant works single-threaded.
"""

import os
import warnings
from typing import Protocol

import torch

os.environ["QUANTIZATION_THREADS"] = "1"

from hivemind.compression import (
    BlockwiseQuantization,
    CompressionBase,
    CompressionInfo,
    Quantile8BitQuantization,
    Uniform8BitQuantization,
)

from swarm.vector.grid import Vector

_CODECS: dict[str, CompressionBase] = {
    "uniform": Uniform8BitQuantization(),
    "quantile": Quantile8BitQuantization(),
    "blockwise": BlockwiseQuantization(),
}


class _Message(Protocol):
    """hivemind's protobuf message, as far as it matters here."""

    buffer: bytes


class HivemindCodec:
    """`kind` is uniform, quantile or blockwise."""

    def __init__(self, kind: str) -> None:
        self._codec = _CODECS[kind]
        # two of them use torch's old quantisation calls
        warnings.filterwarnings("ignore", message=".*quantize_per_tensor", category=UserWarning)

    def quantise(self, values_N: Vector) -> _Message:
        values = torch.from_numpy(values_N)
        return self._codec.compress(values, CompressionInfo.from_tensor(values))

    def dequantise(self, encoded: _Message, elements: int) -> Vector:
        return self._codec.extract(encoded).numpy()[:elements]

    def encoded_bytes(self, encoded: _Message) -> int:
        return len(encoded.buffer)
