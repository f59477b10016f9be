"""Runs the engine on one scenario: a lab, a worker per host inside it, warm-up rounds, counted rounds.

Per round, from the workers: `form_s`, `data_s`, `commit_s` of the slowest peer. From outside: bytes over every link
(the whole round), CPU seconds of each worker's process group and of the link process (the same), and how busy the
machine was in the data phase. Warm-up rounds are not counted: the engine learns in them how fast its links are.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import process_group
from benchmarks.crew import BenchError, Peer, ask
from benchmarks.crew import started as crew_started
from benchmarks.harness import Say
from benchmarks.wan import lab as wan_lab
from benchmarks.wan import machine_load
from benchmarks.wan.counters import Traffic
from benchmarks.wan.lab import Lab
from benchmarks.wan.scenarios import Scenario
from benchmarks.wan.topology import host_inner
from benchmarks.worker import RoundFigures, Site
from benchmarks.worker_process import Checked, Command, Place
from swarm.charter.manifest import Reduce
from swarm.clock import process_s
from swarm.vector.codec import make_codec

WARM_UP_ROUNDS = 3
ENGINE = "benchmarks.tapestry_worker"
_CODEC = "int8"
_MAX_RMS_ERROR = 0.2
"""Far above any 8-bit codec, far below a vector that was not averaged."""
_ELEMENTS_PER_MB = 250_000
_PREPARE_S, _FILL_S, _CLOSE_S = 180.0, 120.0, 15.0
_ROUND_FLOOR_S, _ROUND_TIMES_IDEAL = 300.0, 20
"""How long a round may take before the bench gives up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSample:
    """One round, already reduced over peers."""

    form_s: float
    data_s: float
    commit_s: float
    cpu_s_per_peer: float
    link_cpu_s: float
    cpu_busy: float
    """Share of all the machine's CPUs in use during the data phase."""
    border_bytes: int
    """Over the border that carried most, in its busier direction, with headers and libp2p's upkeep."""
    sent_abroad_bytes: int
    """Of the frames that the peers of a region gave to others, by their ledgers; the region that sent most."""
    host_bytes: int
    """Over the host's link that carried most, in its busier direction."""
    core_drops: int
    rms_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a scenario gave."""

    samples: tuple[RoundSample, ...]
    incomplete_rounds: int
    encoded_bytes: int
    ideal_s: float


def measure(scenario: Scenario, *, mb: int, rounds: int, say: Say) -> Measured:
    """Builds the network, runs the rounds, and leaves nothing behind.

    Raises:
        BenchError: no network can be built here, a worker failed, or more rounds were incomplete than asked for.
    """
    elements = mb * _ELEMENTS_PER_MB
    encoded_bytes = make_codec(_CODEC, Reduce().block_elements).encoded_bytes(elements)
    ideal_s = scenario.ideal_s(encoded_bytes)
    say(f"{scenario.name}: {scenario.about}; {mb} MB per peer, ideal {ideal_s:.2f} s")
    with (
        wan_lab.started(scenario.topology) as lab,
        crew_started(
            module=ENGINE,
            codec=_CODEC,
            world=scenario.peers,
            elements=elements,
            threads=1,
            places=_places(scenario, lab),
        ) as peers,
    ):
        ask(peers, Command("prepare"), _PREPARE_S, lab.check)
        timeout_s = max(_ROUND_FLOOR_S, _ROUND_TIMES_IDEAL * ideal_s)
        for index in range(1, WARM_UP_ROUNDS + 1):
            say(f"{scenario.name}: warm-up: {_in_words(_round(scenario, lab, peers, index, timeout_s))}")
        samples: list[RoundSample] = []
        incomplete = 0
        while len(samples) < rounds:
            if incomplete > rounds:
                tried = len(samples) + incomplete
                raise BenchError(f"{scenario.name}: only {len(samples)} of {tried} rounds were complete")
            taken = _round(scenario, lab, peers, 1 + WARM_UP_ROUNDS + len(samples) + incomplete, timeout_s)
            say(f"{scenario.name}: round {len(samples) + 1}/{rounds}: {_in_words(taken)}")
            if taken is None:
                incomplete += 1
            else:
                samples.append(taken)
        ask(peers, Command("close"), _CLOSE_S, lab.check)
    return Measured(samples=tuple(samples), incomplete_rounds=incomplete, encoded_bytes=encoded_bytes, ideal_s=ideal_s)


def _places(scenario: Scenario, lab: Lab) -> list[Place]:
    return [
        Place(
            site=Site(
                listen=str(host_inner(index, nat=host.nat)),
                jurisdiction=host.region,
                levels=scenario.levels,
                min_contributors=scenario.min_contributors,
            ),
            namespace=lab.namespace_of(index),
        )
        for index, host in enumerate(scenario.topology.hosts)
    ]


def _round(scenario: Scenario, lab: Lab, peers: Sequence[Peer], index: int, timeout_s: float) -> RoundSample | None:
    """One round; None when some peer averaged with fewer than all, or got something else than the average."""
    ask(peers, Command("fill", index), _FILL_S, lab.check)
    readings: list[machine_load.Reading] = []

    def watch() -> None:
        lab.check()
        readings.append(machine_load.read(process_s()))

    traffic, link_cpu_s = lab.counters(), lab.cpu_s()
    cpu_s, began_s = _cpu_s(peers), process_s()
    replies = ask(peers, Command("go"), timeout_s, watch)
    carried = lab.counters().since(traffic)
    figures = [reply for reply in replies if isinstance(reply, RoundFigures)]
    sample_cpu_s, sample_link_cpu_s = _cpu_s(peers) - cpu_s, lab.cpu_s() - link_cpu_s
    checks = ask(peers, Command("check", index), _FILL_S, lab.check)
    rms_error = max(reply.rms_error for reply in checks if isinstance(reply, Checked))
    if min(one.group_size for one in figures) < len(peers) or not rms_error < _MAX_RMS_ERROR:
        return None
    form_s = max(one.form_s for one in figures)
    averaged_s = max(one.form_s + one.data_s for one in figures)
    return RoundSample(
        form_s=form_s,
        data_s=max(one.data_s for one in figures),
        commit_s=max(one.commit_s for one in figures),
        cpu_s_per_peer=sample_cpu_s / len(peers),
        link_cpu_s=sample_link_cpu_s,
        cpu_busy=machine_load.busy_share(readings, begin_s=began_s + form_s, end_s=began_s + averaged_s),
        border_bytes=_busiest_bytes(carried.borders),
        sent_abroad_bytes=_most_abroad(scenario, figures),
        host_bytes=_busiest_bytes(carried.hosts),
        core_drops=carried.core_drops,
        rms_error=rms_error,
    )


def _cpu_s(peers: Sequence[Peer]) -> float:
    return sum(process_group.cpu_s(process_group.members(peer.group)) for peer in peers)


def _busiest_bytes(links: Sequence[Traffic]) -> int:
    return max((max(link.out_bytes, link.in_bytes) for link in links), default=0)


def _most_abroad(scenario: Scenario, figures: Sequence[RoundFigures]) -> int:
    by_region: Counter[str] = Counter()
    for host, one in zip(scenario.topology.hosts, figures, strict=True):
        by_region[host.region] += one.abroad_bytes
    return max(by_region.values())


def _in_words(taken: RoundSample | None) -> str:
    if taken is None:
        return "incomplete, not every peer averaged with every other"
    return (
        f"{taken.form_s:.2f} + {taken.data_s:.2f} + {taken.commit_s:.2f} s, {taken.cpu_s_per_peer:.2f} CPU s per peer, "
        f"machine {taken.cpu_busy:.0%} busy"
    )
