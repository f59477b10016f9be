"""The document of `tapestry bench allreduce`: JSON for machines, a table for people. No measuring."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import msgspec
from rich.table import Table

from benchmarks.harness import Measured, RoundSample
from benchmarks.machine import Machine

OURS = "tapestry"
_BITS_PER_GBIT = 1e9
_BYTES_PER_MB = 1e6


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Medians over the counted rounds; `benchmarks.harness` defines every figure."""

    engine: str
    codec: str
    peers: int
    mb: int
    """Float32 input per peer, in units of 10^6 bytes."""
    rounds: int
    form_s: float
    data_s: float
    round_s: float
    commit_s: float
    cpu_s_per_peer: float
    commit_cpu_s_per_peer: float
    """Besides: of the outer step and the digest of its state; 0 for engines that only average."""
    wire_bytes_per_peer: float
    rss_extra_bytes: float
    rss_beyond_bytes: float
    """Of these, what is not one of the vectors that the engine names (residual, result, encoded result, base, outer
    state); all of them for an engine that names none."""
    rms_error: float
    """Of the result against the true average, relative; largest of the peers, on a sample of the elements."""
    wire_bps_per_peer: float
    """Bits sent per second of the data phase: loopback has no nominal rate that a share could be taken of."""
    threads_per_peer: int
    incomplete_rounds: int
    """Rounds run besides and not counted, because some peer averaged with fewer than all."""
    spread: dict[str, tuple[float, float]]
    """Least and greatest value of each median above."""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    machine: Machine
    results: tuple[Result, ...]


_FIELDS = (
    "form_s",
    "data_s",
    "round_s",
    "commit_s",
    "cpu_s_per_peer",
    "commit_cpu_s_per_peer",
    "wire_bytes_per_peer",
    "rss_extra_bytes",
    "rss_beyond_bytes",
    "rms_error",
    "wire_bps_per_peer",
)


@dataclass(frozen=True, slots=True)
class _Row:
    title: str
    field: str
    digits: int = 2
    unit: float = 1.0
    is_compared: bool = True


_ROWS = (
    _Row("form s", "form_s"),
    _Row("data s", "data_s"),
    _Row("form+data s", "round_s"),
    _Row("commit s", "commit_s", is_compared=False),
    _Row("CPU s / peer", "cpu_s_per_peer"),
    _Row("CPU s of step", "commit_cpu_s_per_peer", is_compared=False),
    _Row("MB out / peer", "wire_bytes_per_peer", 0, _BYTES_PER_MB),
    _Row("Gbit/s out", "wire_bps_per_peer", 2, _BITS_PER_GBIT),
    _Row("extra MB", "rss_extra_bytes", 0, _BYTES_PER_MB),
    _Row("beyond MB", "rss_beyond_bytes", 0, _BYTES_PER_MB, is_compared=False),
    _Row("error %", "rms_error", 2, 0.01, is_compared=False),
)


def result(*, engine: str, codec: str, peers: int, mb: int, threads_per_peer: int, measured: Measured) -> Result:
    """Reduces the rounds of one engine to medians and spread."""
    columns = {field: [_value(sample, field) for sample in measured.samples] for field in _FIELDS}
    middle = {field: median(values) for field, values in columns.items()}
    return Result(
        engine=engine,
        codec=codec,
        peers=peers,
        mb=mb,
        rounds=len(measured.samples),
        form_s=middle["form_s"],
        data_s=middle["data_s"],
        round_s=middle["round_s"],
        commit_s=middle["commit_s"],
        cpu_s_per_peer=middle["cpu_s_per_peer"],
        commit_cpu_s_per_peer=middle["commit_cpu_s_per_peer"],
        wire_bytes_per_peer=middle["wire_bytes_per_peer"],
        rss_extra_bytes=middle["rss_extra_bytes"],
        rss_beyond_bytes=middle["rss_beyond_bytes"],
        rms_error=middle["rms_error"],
        wire_bps_per_peer=middle["wire_bps_per_peer"],
        threads_per_peer=threads_per_peer,
        incomplete_rounds=measured.incomplete_rounds,
        spread={field: (min(values), max(values)) for field, values in columns.items()},
    )


def to_json(document: Document) -> str:
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def table(results: Sequence[Result]) -> Table:
    """One column per engine, one row per figure: median, spread, and how many times ours it is. Fits 80 characters."""
    first = results[0]
    grid = Table(
        title=f"all-reduce, {first.peers} peers x {first.mb} MB, median of {first.rounds} rounds [min-max]",
        show_lines=True,
    )
    grid.add_column("")
    for one in results:
        grid.add_column(f"{one.engine}, {one.codec}", justify="right")
    ours = next((one for one in results if one.engine == OURS), None)
    for row in _ROWS:
        grid.add_row(row.title, *(_cell(one, ours if row.is_compared else None, row) for one in results))
    return grid


def _value(sample: RoundSample, field: str) -> float:
    if field == "wire_bps_per_peer":
        return sample.wire_bytes_per_peer * 8 / sample.data_s
    return float(getattr(sample, field))


def _cell(one: Result, ours: Result | None, row: _Row) -> str:
    value, (least, greatest) = float(getattr(one, row.field)), one.spread[row.field]
    median_text, *ends = (f"{number / row.unit:.{row.digits}f}" for number in (value, least, greatest))
    text = f"{median_text} \\[{'-'.join(ends)}]"
    if ours is None or ours is one:
        return text
    base = float(getattr(ours, row.field))
    return f"{text}\n{value / base:.1f}x ours" if base > 0 else text
