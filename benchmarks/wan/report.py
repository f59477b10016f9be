"""The document of `tapestry bench wan`: JSON for machines, a table for people. No measuring."""

from collections.abc import Sequence
from statistics import median

import msgspec
from rich import box
from rich.table import Table

from benchmarks.machine import Machine
from benchmarks.wan.machine_load import SATURATED
from benchmarks.wan.measure import Measured, RoundSample
from benchmarks.wan.scenarios import Scenario
from benchmarks.wan.state_report import StateResult, StateRoundsResult, state_table

_BYTES_PER_MB = 1e6
_SATURATED = "* the machine's CPUs were saturated: the figure is theirs, not the link's"
_SPREAD = ("form_s", "data_s", "commit_s", "cpu_s_per_peer", "cpu_busy", "border_bytes", "sent_abroad_bytes")


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Medians over the counted rounds; `benchmarks.wan.measure` defines every figure."""

    name: str
    peers: int
    mb: int
    """Float32 input per peer, in units of 10^6 bytes."""
    rounds: int
    seconds: float
    """Data phase of the slowest peer."""
    form_s: float
    commit_s: float
    ideal_s: float
    efficiency: float
    """ideal_s / seconds; with `saturated`, a property of this machine rather than of the engine."""
    encoded_bytes: int
    border_bytes: int
    """In a round, counted by interfaces; 0 where there is no border."""
    sent_abroad_bytes: int
    """What of it the ledgers of one region's peers account for."""
    host_bytes: int
    cpu_s_per_peer: float
    link_cpu_s: float
    cpu_busy: float
    saturated: bool
    """The machine's CPUs had no time left in the data phase."""
    core_drops: int
    """Packets of all counted rounds that the lab lost because it did not keep up; they should be 0."""
    rms_error: float
    incomplete_rounds: int
    spread: dict[str, tuple[float, float]]
    """Least and greatest value; `data_s` is that of `seconds`."""


AnyResult = Result | StateResult | StateRoundsResult


class Document(msgspec.Struct, frozen=True, kw_only=True):
    machine: Machine
    congestion_control: str
    """Of the kernel's TCP, which namespaces take over from the system."""
    scenarios: tuple[AnyResult, ...]


def result(scenario: Scenario, measured: Measured, *, mb: int) -> Result:
    """Reduces the rounds of one scenario to medians and spread."""
    samples = measured.samples
    seconds = _median(samples, "data_s")
    cpu_busy = _median(samples, "cpu_busy")
    return Result(
        name=scenario.name,
        peers=scenario.peers,
        mb=mb,
        rounds=len(samples),
        seconds=seconds,
        form_s=_median(samples, "form_s"),
        commit_s=_median(samples, "commit_s"),
        ideal_s=measured.ideal_s,
        efficiency=measured.ideal_s / seconds,
        encoded_bytes=measured.encoded_bytes,
        border_bytes=round(_median(samples, "border_bytes")),
        sent_abroad_bytes=round(_median(samples, "sent_abroad_bytes")),
        host_bytes=round(_median(samples, "host_bytes")),
        cpu_s_per_peer=_median(samples, "cpu_s_per_peer"),
        link_cpu_s=_median(samples, "link_cpu_s"),
        cpu_busy=cpu_busy,
        saturated=cpu_busy >= SATURATED,
        core_drops=sum(sample.core_drops for sample in samples),
        rms_error=_median(samples, "rms_error"),
        incomplete_rounds=measured.incomplete_rounds,
        spread={field: (min(values), max(values)) for field in _SPREAD for values in [_values(samples, field)]},
    )


def to_json(document: Document) -> str:
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def heading(document: Document) -> str:
    """What the table cannot hold: the machine, and how its TCP finds the rate."""
    one = document.machine
    return f"{one.cpu}, {one.cores} cores, load {one.load_1m:.2f} before the start, TCP {document.congestion_control}"


def tables(results: Sequence[AnyResult]) -> list[Table]:
    """One for averaging, one for states; none where there is nothing."""
    averages = [one for one in results if isinstance(one, Result)]
    states = [one for one in results if not isinstance(one, Result)]
    return [*([table(averages)] if averages else []), *([state_table(states)] if states else [])]


def table(results: Sequence[Result]) -> Table:
    """One row per scenario, medians; a star says that the machine, not the link, set the time."""
    grid = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption=_SATURATED if any(one.saturated for one in results) else None,
    )
    grid.add_column("scenario", no_wrap=True)
    for title in ("peers", "MB", "form s", "data s", "ideal s", "of ideal", "border MB", "CPU s/peer", "CPUs"):
        grid.add_column(title, justify="right")
    for one in results:
        grid.add_row(
            one.name,
            str(one.peers),
            str(one.mb),
            f"{one.form_s:.2f}",
            f"{one.seconds:.2f}",
            f"{one.ideal_s:.2f}",
            f"{one.efficiency:.0%}{'*' if one.saturated else ''}",
            f"{one.border_bytes / _BYTES_PER_MB:.1f}" if one.border_bytes else "",
            f"{one.cpu_s_per_peer:.2f}",
            f"{one.cpu_busy:.0%}",
        )
    return grid


def _median(samples: Sequence[RoundSample], field: str) -> float:
    return median(_values(samples, field))


def _values(samples: Sequence[RoundSample], field: str) -> list[float]:
    return [float(getattr(sample, field)) for sample in samples]
