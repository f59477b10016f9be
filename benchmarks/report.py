"""The document of `tapestry bench allreduce`: JSON for machines, a table for people. No measuring."""

from collections.abc import Sequence
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
    wire_bytes_per_peer: float
    rss_extra_bytes: float
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
    "wire_bytes_per_peer",
    "rss_extra_bytes",
    "rms_error",
    "wire_bps_per_peer",
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
        wire_bytes_per_peer=middle["wire_bytes_per_peer"],
        rss_extra_bytes=middle["rss_extra_bytes"],
        rms_error=middle["rms_error"],
        wire_bps_per_peer=middle["wire_bps_per_peer"],
        threads_per_peer=threads_per_peer,
        incomplete_rounds=measured.incomplete_rounds,
        spread={field: (min(values), max(values)) for field, values in columns.items()},
    )


def to_json(document: Document) -> str:
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def table(results: Sequence[Result]) -> Table:
    """One row per engine: median, spread under it, and how many times ours it is."""
    first = results[0]
    grid = Table(
        title=f"all-reduce, {first.peers} peers x {first.mb} MB, median of {first.rounds} rounds [min-max]",
        show_lines=True,
    )
    columns = ("form s", "data s", "commit s", "CPU s / peer", "MB out / peer", "Gbit/s out", "extra MB", "error %")
    grid.add_column("engine")
    for column in columns:
        grid.add_column(column, justify="right")
    ours = next((one for one in results if one.engine == OURS), None)
    for one in results:
        grid.add_row(
            f"{one.engine}\n{one.codec}",
            _cell(one, ours, "form_s", 1.0, 2),
            _cell(one, ours, "data_s", 1.0, 2),
            _cell(one, None, "commit_s", 1.0, 2),
            _cell(one, ours, "cpu_s_per_peer", 1.0, 2),
            _cell(one, ours, "wire_bytes_per_peer", _BYTES_PER_MB, 0),
            _cell(one, ours, "wire_bps_per_peer", _BITS_PER_GBIT, 2),
            _cell(one, ours, "rss_extra_bytes", _BYTES_PER_MB, 0),
            _cell(one, None, "rms_error", 0.01, 2),
        )
    return grid


def _value(sample: RoundSample, field: str) -> float:
    if field == "wire_bps_per_peer":
        return sample.wire_bytes_per_peer * 8 / sample.data_s
    return float(getattr(sample, field))


def _cell(one: Result, ours: Result | None, field: str, unit: float, digits: int) -> str:
    value, (least, greatest) = float(getattr(one, field)), one.spread[field]
    text = f"{value / unit:.{digits}f}\n\\[{least / unit:.{digits}f}-{greatest / unit:.{digits}f}]"
    if ours is None or ours is one:
        return text
    base = float(getattr(ours, field))
    return f"{text}\n{value / base:.1f}x ours" if base > 0 else text
