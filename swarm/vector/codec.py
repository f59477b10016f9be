"""How a slice of a vector becomes bytes and comes back: the one interface, and the codec a charter names.

Pure arithmetic on one slice; chunking, streams and error feedback are elsewhere, the codecs in `plain.py`, `int8.py`
and `int4.py`. A stranger wrote the bytes that are decoded here, so every reader checks them first, unless told that
this process already did.

Codecs without blocks own scratch memory: one instance per thread.
"""

from typing import Protocol

from swarm.vector.bounds import MAX_MAGNITUDE, Buffer
from swarm.vector.grid import Vector
from swarm.vector.int4 import Int4Block
from swarm.vector.int8 import Int8Block
from swarm.vector.plain import Bfloat16Codec, Float32Codec

__all__ = [
    "MAX_MAGNITUDE",
    "Bfloat16Codec",
    "Buffer",
    "Codec",
    "Encoded",
    "Float32Codec",
    "Int4Block",
    "Int8Block",
    "make_codec",
]

Encoded = bytes
"""What `encode` returns: immutable, for the one copy it costs (5 % of an int8 encode)."""


class Codec(Protocol):
    """Turns slices into bytes and back. An instance belongs to one thread."""

    @property
    def name(self) -> str:
        """The charter's word for it."""
        ...

    def encoded_bytes(self, elements: int) -> int:
        """Exact size of `elements` encoded values."""
        ...

    def encode(self, values_N: Vector, lost_N: Vector | None = None) -> Encoded:
        """The bytes of a slice; ValueError for NaN, infinity or a magnitude above `MAX_MAGNITUDE`.

        With `lost_N`, of the same shape and no part of the same memory, it also writes there what encoding takes
        away: exactly `values_N - decode(bytes)`. After a ValueError `lost_N` may hold anything.
        """
        ...

    def check(self, data: Buffer, elements: int) -> None:
        """Raises ProtocolError unless `data` is a well-formed encoding of `elements` finite values."""
        ...

    def is_within(self, data: Buffer, elements: int, max_rms: float) -> bool:
        """Whether the root mean square of the decoded values is at most `max_rms`. The bytes were checked."""
        ...

    def decode(self, data: Buffer, elements: int) -> Vector:
        """The values as a new array of shape (elements,).

        Checks first, so it raises ProtocolError as `check` does.
        """
        ...

    def decode_into(self, data: Buffer, out_N: Vector, is_checked: bool = False) -> None:
        """As `decode`, into `out_N`, which is untouched if the check fails.

        `is_checked` leaves the check out: for bytes this process has made, or has checked against this size.
        """
        ...

    def accumulate(
        self,
        data: Buffer,
        elements: int,
        weight: int,
        sum_N: Vector,
        is_first: bool = False,
        is_checked: bool = False,
    ) -> None:
        """sum_N += weight * decoded, in place. Checks first; `sum_N` is untouched if the check fails.

        `is_first` writes instead of adding, whatever `sum_N` held before; `is_checked` as in `decode_into`.
        """
        ...


def make_codec(name: str, block_elements: int) -> Codec:
    """The codec the charter names: `float32`, `bfloat16` (these have no blocks), `int8` or `int4`.

    Raises:
        ValueError: another name, or a block below one element.
    """
    match name:
        case "float32":
            return Float32Codec()
        case "bfloat16":
            return Bfloat16Codec()
        case "int8":
            return Int8Block(block_elements)
        case "int4":
            return Int4Block(block_elements)
        case _:
            raise ValueError(f"no codec is called {name!r}; choose float32, bfloat16, int8 or int4")
