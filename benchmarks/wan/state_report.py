"""State scenarios in the document of `tapestry bench wan`, and as a table for people. No measuring."""

from collections.abc import Sequence
from statistics import median

import msgspec
from rich import box
from rich.table import Table

from benchmarks.wan.machine_load import SATURATED
from benchmarks.wan.state_measure import JoinSample, RoundSample
from benchmarks.wan.state_scenarios import StateScenario

_BITS = 8


class StateResult(msgspec.Struct, frozen=True, kw_only=True):
    """A newcomer's way to the state: medians over joins."""

    name: str
    peers: int
    mb: int
    rounds: int
    """Joins."""
    seconds: float
    """From the newcomer's first question to the last verified piece."""
    ready_s: float
    """Until the state was on disk as a snapshot, too."""
    ideal_s: float
    """What the honest donors' links and the newcomer's allow."""
    efficiency: float
    """ideal_s / seconds; with `saturated`, a property of this machine rather than of the engine."""
    link_share: float
    """Content of the state per second, against the newcomer's own link."""
    received_bytes: int
    cpu_s: float
    """Of the newcomer."""
    donor_cpu_s: float
    link_cpu_s: float
    cpu_busy: float
    saturated: bool
    core_drops: int
    spread: dict[str, tuple[float, float]]
    """Least and greatest value; `download_s` is that of `seconds`."""


class StateRoundsResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a download does to rounds: medians."""

    name: str
    peers: int
    mb: int
    rounds: int
    """Of each kind."""
    usual_s: float
    """A round without a newcomer, from update to new base."""
    seconds: float
    """The same while somebody downloads."""
    slowdown: float
    """seconds / usual_s"""
    data_slowdown: float
    """The same of the data phases alone."""
    newcomer_bytes: int
    """What the newcomer got in such a round."""
    cpu_busy: float
    saturated: bool
    spread: dict[str, tuple[float, float]]


def state_result(scenario: StateScenario, samples: Sequence[JoinSample]) -> StateResult:
    """Reduces joins to medians and spread."""
    download_s = [one.figures.download_s for one in samples]
    ready_s = [one.figures.ready_s for one in samples]
    seconds, cpu_busy = median(download_s), median(one.cpu_busy for one in samples)
    state_bytes = samples[0].figures.state_bytes
    ideal_s = scenario.ideal_s(state_bytes)
    return StateResult(
        name=scenario.name,
        peers=scenario.peers,
        mb=scenario.mb,
        rounds=len(samples),
        seconds=seconds,
        ready_s=median(ready_s),
        ideal_s=ideal_s,
        efficiency=ideal_s / seconds,
        link_share=state_bytes * _BITS / seconds / scenario.topology.hosts[-1].rate_bps,
        received_bytes=round(median(one.figures.received_bytes for one in samples)),
        cpu_s=median(one.cpu_s for one in samples),
        donor_cpu_s=median(one.donor_cpu_s for one in samples),
        link_cpu_s=median(one.link_cpu_s for one in samples),
        cpu_busy=cpu_busy,
        saturated=cpu_busy >= SATURATED,
        core_drops=sum(one.core_drops for one in samples),
        spread={"download_s": (min(download_s), max(download_s)), "ready_s": (min(ready_s), max(ready_s))},
    )


def state_rounds_result(
    scenario: StateScenario, usual: Sequence[RoundSample], during: Sequence[RoundSample]
) -> StateRoundsResult:
    """Compares two sets of rounds."""
    usual_s, during_s = [one.seconds for one in usual], [one.seconds for one in during]
    cpu_busy = median(one.cpu_busy for one in during)
    return StateRoundsResult(
        name=scenario.name,
        peers=scenario.peers,
        mb=scenario.mb,
        rounds=len(during),
        usual_s=median(usual_s),
        seconds=median(during_s),
        slowdown=median(during_s) / median(usual_s),
        data_slowdown=median(one.data_s for one in during) / median(one.data_s for one in usual),
        newcomer_bytes=round(median(one.newcomer_bytes for one in during)),
        cpu_busy=cpu_busy,
        saturated=cpu_busy >= SATURATED,
        spread={"usual_s": (min(usual_s), max(usual_s)), "seconds": (min(during_s), max(during_s))},
    )


def state_table(results: Sequence[StateResult | StateRoundsResult]) -> Table:
    """One row per scenario, medians."""
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    grid.add_column("scenario", no_wrap=True)
    for title in ("MB", "seconds", "ideal s", "of ideal", "of its link", "ready s", "usual round s", "slower", "CPUs"):
        grid.add_column(title, justify="right")
    for one in results:
        star = "*" if one.saturated else ""
        match one:
            case StateResult():
                cells = (f"{one.ideal_s:.2f}", f"{one.efficiency:.0%}{star}", f"{one.link_share:.0%}{star}")
                cells = (*cells, f"{one.ready_s:.2f}", "", "")
            case StateRoundsResult():
                cells = ("", "", "", "", f"{one.usual_s:.2f}", f"{one.slowdown:.2f}x{star}")
        grid.add_row(one.name, str(one.mb), f"{one.seconds:.2f}", *cells, f"{one.cpu_busy:.0%}")
    return grid
