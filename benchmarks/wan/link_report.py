"""`tapestry bench wan --links`: what plain TCP reaches through each scenario's links, and what the lab costs.

The honesty check of the lab. TCP's own headers cost 4.4 % of a rate (1,448 bytes of content in 1,514 of packet), so
that no transfer can show more than 95.6 %. In the crowd every host streams to the one half-way round the list and is
streamed to by one, all at once; with two regions all of it crosses the border.
"""

from collections.abc import Sequence

import msgspec

from benchmarks.harness import Say
from benchmarks.wan import lab, probe
from benchmarks.wan.scenarios import Scenario
from benchmarks.wan.state_scenarios import StateScenario
from benchmarks.wan.topology import Topology

_SECONDS = 6.0


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario's links, as set and as found."""

    name: str
    set_round_trip_s: float
    """Between the first host and the last."""
    round_trip_s: float
    one_share: float
    """The first host to the last, alone, against the slowest link on the way."""
    crowd_bps: float
    crowd_share: float
    """All flows together, against what the links allow."""
    link_cores: float
    """CPU seconds of the link process per second of the crowd; most of it is forwarding and TCP, done by the kernel in
    its name."""
    core_drops: int


def measure(scenarios: Sequence[Scenario | StateScenario], say: Say) -> tuple[Links, ...]:
    """Builds each network and streams through it.

    Raises:
        BenchError: no network can be built here.
        NetworkError: it carries nothing.
    """
    found: list[Links] = []
    for scenario in scenarios:
        say(f"{scenario.name}: {scenario.about}")
        found.append(_measure(scenario))
    return tuple(found)


def to_json(found: Sequence[Links]) -> str:
    return msgspec.json.format(msgspec.json.encode({"links": found}), indent=2).decode()


def to_text(found: Sequence[Links]) -> str:
    """A line for each."""
    return "\n".join(
        f"{one.name:<16} round trip {one.round_trip_s * 1e3:.1f} ms of {one.set_round_trip_s * 1e3:.0f} set, "
        f"one flow {one.one_share:.1%} of the rate, crowd {one.crowd_bps / 1e6:.0f} Mbit/s, {one.crowd_share:.1%}, "
        f"{one.link_cores:.2f} cores, {one.core_drops} dropped"
        for one in found
    )


def _measure(scenario: Scenario | StateScenario) -> Links:
    topology = scenario.topology
    last = scenario.peers - 1
    pairs = [(host, (host + scenario.peers // 2) % scenario.peers) for host in range(scenario.peers)]
    with lab.started(topology) as built:
        round_trip_s = probe.round_trip_s(built, 0, last)
        one = probe.transfer(built, [(0, last)], seconds=_SECONDS)
        crowd = probe.transfer(built, pairs, seconds=_SECONDS)
    return Links(
        name=scenario.name,
        set_round_trip_s=2 * topology.one_way_s(0, last),
        round_trip_s=round_trip_s,
        one_share=one.bps / allowed_bps(topology, [(0, last)]),
        crowd_bps=crowd.bps,
        crowd_share=crowd.bps / allowed_bps(topology, pairs),
        link_cores=crowd.link_cpu_s / crowd.seconds,
        core_drops=one.traffic.core_drops + crowd.traffic.core_drops,
    )


def allowed_bps(topology: Topology, pairs: Sequence[tuple[int, int]]) -> float:
    """The most that flows between these pairs can carry together, where each host sends and receives one at most.

    With borders, all hosts have to be behind one.
    """
    total_bps = 0.0
    crossing_bps = [0.0] * len(topology.borders)
    for source, target in pairs:
        flow_bps = min(topology.hosts[source].rate_bps, topology.hosts[target].rate_bps)
        home, abroad = topology.border_index(source), topology.border_index(target)
        if home == abroad or home is None:
            total_bps += flow_bps
        else:
            crossing_bps[home] += flow_bps
    return total_bps + sum(
        min(flows_bps, border.rate_bps) for flows_bps, border in zip(crossing_bps, topology.borders, strict=True)
    )
