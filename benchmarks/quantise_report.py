"""The document of `tapestry bench quantise`: JSON for machines, a table for people. No measuring."""

import msgspec
from rich.table import Table

from benchmarks.machine import Machine

_FIELDS = ("quantise_gb_s", "dequantise_gb_s")


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Medians over the repetitions of one codec."""

    codec: str
    quantise_gb_s: float
    """10^9 bytes of float32 per second."""
    dequantise_gb_s: float
    """As above; ours includes the check of the bytes."""
    rms_error: float
    """Of the decoded values, relative to the root mean square of the input."""
    bytes_per_element: float
    spread: dict[str, tuple[float, float]]
    """Least and greatest value of each median above."""


class Absent(msgspec.Struct, frozen=True, kw_only=True):
    """A codec that could not be measured here."""

    codec: str
    cause: str


class Document(msgspec.Struct, frozen=True, kw_only=True):
    machine: Machine
    mb: int
    """Float32 input, in units of 10^6 bytes."""
    chunk_elements: int
    """Values quantised in one call."""
    repetitions: int
    results: tuple[Result, ...]
    absent: tuple[Absent, ...]


def to_json(document: Document) -> str:
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def table(document: Document) -> Table:
    """One row per codec: medians with their spread, error and size. Fits 80 characters."""
    grid = Table(
        title=f"{document.mb} MB of Gaussian float32, one thread, median of {document.repetitions} [min-max]",
        caption="".join(f"{one.codec} is absent: {one.cause}\n" for one in document.absent),
    )
    grid.add_column("codec")
    for title in ("quantise GB/s", "dequantise GB/s", "error %", "B/elem"):
        grid.add_column(title, justify="right")
    for one in document.results:
        grid.add_row(
            one.codec,
            *(_speed(one, field) for field in _FIELDS),
            f"{one.rms_error * 100:.2f}",
            f"{one.bytes_per_element:.3f}",
        )
    return grid


def _speed(one: Result, field: str) -> str:
    middle, least, greatest = map(_short, (float(getattr(one, field)), *one.spread[field]))
    return f"{middle} \\[{least}-{greatest}]"


def _short(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
