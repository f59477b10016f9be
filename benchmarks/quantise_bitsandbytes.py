"""Competitor in `tapestry bench quantise`: bitsandbytes' blockwise 8-bit quantisation on the CPU, with its defaults."""

import torch
from bitsandbytes.functional import QuantState, dequantize_blockwise, quantize_blockwise

from swarm.vector.grid import Vector


class BitsandbytesCodec:
    """The code table is a constant of the library and would not be sent."""

    def quantise(self, values_N: Vector) -> tuple[torch.Tensor, QuantState]:
        return quantize_blockwise(torch.from_numpy(values_N))

    def dequantise(self, encoded: tuple[torch.Tensor, QuantState], elements: int) -> Vector:
        return dequantize_blockwise(*encoded).numpy()[:elements]

    def encoded_bytes(self, encoded: tuple[torch.Tensor, QuantState]) -> int:
        codes, state = encoded
        return codes.nbytes + state.absmax.nbytes
