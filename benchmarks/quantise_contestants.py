"""Who takes part in `tapestry bench quantise`: what a contestant does, our own codecs, and where the others come from.

A contestant turns a chunk into whatever it would send, and back. Each is loaded by itself, so that a library that is
not installed costs the others nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np

from swarm.charter.manifest import Reduce
from swarm.vector.codec import make_codec
from swarm.vector.grid import Vector

Encoded = TypeVar("Encoded")
CHUNK_ELEMENTS = Reduce().chunk_elements
INT4_BLOCK_ELEMENTS = 64


class Contestant(Protocol[Encoded]):
    """A codec under test; the type parameter is what it makes of one chunk."""

    def quantise(self, values_N: Vector) -> Encoded: ...

    def dequantise(self, encoded: Encoded, elements: int) -> Vector:
        """The values (elements,); the next call may overwrite them."""
        ...

    def encoded_bytes(self, encoded: Encoded) -> int:
        """What would be sent, without any message around it."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A contestant that is not loaded yet."""

    codec: str
    load: Callable[[], Contestant[Any]]


class OurCodec:
    """A codec that a charter can name. Decoding includes the check that a stranger's bytes go through."""

    def __init__(self, name: str, block_elements: int) -> None:
        self._codec = make_codec(name, block_elements)
        self._out_N = np.empty(CHUNK_ELEMENTS, np.float32)

    def quantise(self, values_N: Vector) -> bytes:
        return self._codec.encode(values_N)

    def dequantise(self, encoded: bytes, elements: int) -> Vector:
        self._codec.decode_into(encoded, self._out_N[:elements])
        return self._out_N[:elements]

    def encoded_bytes(self, encoded: bytes) -> int:
        return len(encoded)


def entries() -> tuple[Entry, ...]:
    """All contestants, ours first."""
    return (
        Entry("float32", lambda: OurCodec("float32", Reduce().block_elements)),
        Entry("bfloat16", lambda: OurCodec("bfloat16", Reduce().block_elements)),
        Entry("int8", lambda: OurCodec("int8", Reduce().block_elements)),
        Entry("int4", lambda: OurCodec("int4", INT4_BLOCK_ELEMENTS)),
        *(Entry(f"hivemind {kind}", partial(_hivemind, kind)) for kind in ("uniform", "quantile", "blockwise")),
        Entry("bitsandbytes", _bitsandbytes),
    )


def _hivemind(kind: str) -> Contestant[Any]:
    from benchmarks.quantise_hivemind import HivemindCodec

    return HivemindCodec(kind)


def _bitsandbytes() -> Contestant[Any]:
    from benchmarks.quantise_bitsandbytes import BitsandbytesCodec

    return BitsandbytesCodec()
