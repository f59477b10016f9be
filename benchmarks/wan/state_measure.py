"""Runs a newcomer on one state scenario: a lab, donors with a state in it, and somebody who comes to that state.

A download is measured in a lab and with workers of its own each time, so that no connection is warm and nothing is on
the newcomer's disk. What a download does to rounds is measured in one lab: rounds alone, then rounds during it.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import process_group
from benchmarks.crew import BenchError, Peer, ask, tell
from benchmarks.crew import started as crew_started
from benchmarks.harness import Say
from benchmarks.wan import lab as wan_lab
from benchmarks.wan import machine_load
from benchmarks.wan.lab import Lab
from benchmarks.wan.state_scenarios import StateScenario
from benchmarks.wan.topology import host_inner
from benchmarks.worker import JoinFigures, RoundFigures, Site
from benchmarks.worker_process import Command, Place
from swarm.clock import process_s

WORKER = "benchmarks.state_worker"
WARM_UP_ROUNDS = 2
_ELEMENTS_PER_MB = 250_000
_PREPARE_S, _FILL_S, _ROUND_S, _CLOSE_S = 180.0, 120.0, 300.0, 15.0
_JOIN_FLOOR_S, _JOIN_TIMES_IDEAL = 120.0, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinSample:
    """One newcomer's way to the state."""

    figures: JoinFigures
    cpu_s: float
    """Of the newcomer, its daemon included."""
    donor_cpu_s: float
    """Of each donor, on average."""
    link_cpu_s: float
    cpu_busy: float
    core_drops: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSample:
    """One round of the donors."""

    data_s: float
    """Of the slowest: from its roster to the last chunk's mean."""
    seconds: float
    """Of the slowest: from its update to its new base."""
    newcomer_bytes: int
    """What went over the newcomer's link towards it meanwhile."""
    cpu_busy: float


def measure_joins(scenario: StateScenario, *, times: int, say: Say) -> tuple[JoinSample, ...]:
    """Joins, each in a network of its own.

    Raises:
        BenchError: no network can be built here, a worker failed, or a wrong state was taken.
    """
    samples: list[JoinSample] = []
    for number in range(1, times + 1):
        with _standing(scenario) as (lab, peers):
            samples.append(_join(scenario, lab, peers))
        one = samples[-1].figures
        say(f"{scenario.name}: {number}/{times}: {one.download_s:.2f} s to the last piece, {one.ready_s:.2f} s in all")
    return tuple(samples)


def measure_rounds(
    scenario: StateScenario, *, rounds: int, say: Say
) -> tuple[tuple[RoundSample, ...], tuple[RoundSample, ...]]:
    """Rounds without a newcomer, and as many during a download.

    Raises:
        BenchError: no network can be built here, a worker failed, or the download ended before the last round began.
    """
    with _standing(scenario) as (lab, peers):
        *donors, newcomer = peers
        for index in range(1, WARM_UP_ROUNDS + 1):
            say(f"{scenario.name}: warm-up: {_round(lab, donors, index).seconds:.2f} s")
        usual = [_round(lab, donors, WARM_UP_ROUNDS + number) for number in range(1, rounds + 1)]
        say(f"{scenario.name}: alone: {_in_words(usual)}")
        tell([newcomer], Command("go"))
        during = [_round(lab, donors, WARM_UP_ROUNDS + rounds + number) for number in range(1, rounds + 1)]
        say(f"{scenario.name}: during a download: {_in_words(during)}")
        if newcomer.connection.poll():
            raise BenchError(f"{scenario.name}: the download was over before the last round was")
        ask(donors, Command("close"), _CLOSE_S, lab.check)
    return tuple(usual), tuple(during)


@contextmanager
def _standing(scenario: StateScenario) -> Generator[tuple[Lab, Sequence[Peer]]]:
    """A lab with donors that hold the state, and a newcomer that knows them."""
    with (
        wan_lab.started(scenario.topology) as lab,
        crew_started(
            module=WORKER,
            codec="int8",
            world=scenario.peers,
            elements=scenario.mb * _ELEMENTS_PER_MB,
            threads=1,
            places=_places(scenario, lab),
        ) as peers,
    ):
        ask(peers, Command("prepare"), _PREPARE_S, lab.check)
        yield lab, peers


def _places(scenario: StateScenario, lab: Lab) -> list[Place]:
    places: list[Place] = []
    for index, host in enumerate(scenario.topology.hosts):
        site = Site(
            listen=str(host_inner(index, nat=host.nat)),
            jurisdiction=host.region,
            duty="joins" if index == scenario.peers - 1 else "lies" if index < scenario.liars else "trains",
        )
        places.append(Place(site=site, namespace=lab.namespace_of(index)))
    return places


def _join(scenario: StateScenario, lab: Lab, peers: Sequence[Peer]) -> JoinSample:
    *donors, newcomer = peers
    readings: list[machine_load.Reading] = []

    def watch() -> None:
        lab.check()
        readings.append(machine_load.read(process_s()))

    drops, link_cpu_s, began_s = lab.counters().core_drops, lab.cpu_s(), process_s()
    cpu_s, donor_cpu_s = _cpu_s([newcomer]), _cpu_s(donors)
    limit_s = max(_JOIN_FLOOR_S, _JOIN_TIMES_IDEAL * scenario.ideal_s(4 * scenario.mb * _ELEMENTS_PER_MB))
    (figures,) = ask([newcomer], Command("go"), limit_s, watch)
    assert isinstance(figures, JoinFigures), figures
    if not figures.is_right:
        raise BenchError(f"{scenario.name}: the newcomer took a state that is not the one its donors hold")
    return JoinSample(
        figures=figures,
        cpu_s=_cpu_s([newcomer]) - cpu_s,
        donor_cpu_s=(_cpu_s(donors) - donor_cpu_s) / len(donors),
        link_cpu_s=lab.cpu_s() - link_cpu_s,
        cpu_busy=machine_load.busy_share(readings, begin_s=began_s, end_s=began_s + figures.download_s),
        core_drops=lab.counters().core_drops - drops,
    )


def _round(lab: Lab, donors: Sequence[Peer], index: int) -> RoundSample:
    ask(donors, Command("fill", index), _FILL_S, lab.check)
    readings: list[machine_load.Reading] = []

    def watch() -> None:
        lab.check()
        readings.append(machine_load.read(process_s()))

    carried, began_s = lab.counters(), process_s()
    figures = [one for one in ask(donors, Command("go"), _ROUND_S, watch) if isinstance(one, RoundFigures)]
    if min(one.group_size for one in figures) < len(donors):
        raise BenchError("a round without one of its peers")
    return RoundSample(
        data_s=max(one.data_s for one in figures),
        seconds=max(one.form_s + one.data_s + one.commit_s for one in figures),
        newcomer_bytes=lab.counters().since(carried).hosts[-1].in_bytes,
        cpu_busy=machine_load.busy_share(readings, begin_s=began_s, end_s=process_s()),
    )


def _cpu_s(peers: Sequence[Peer]) -> float:
    return sum(process_group.cpu_s(process_group.members(peer.group)) for peer in peers)


def _in_words(rounds: Sequence[RoundSample]) -> str:
    return ", ".join(f"{one.seconds:.2f} s ({one.newcomer_bytes / 1e6:.0f} MB to the newcomer)" for one in rounds)
