"""`tapestry bench wan --links`: what plain TCP reaches through each scenario's links, and what the lab costs.

The honesty check of the lab. TCP's own headers cost 4.4 % of a rate (1,448 bytes of content in 1,514 of packet), so
that no transfer can show more than 95.6 %. The ring streams from each host to the next, all at once.
"""

from collections.abc import Sequence

import msgspec

from benchmarks.harness import Say
from benchmarks.wan import lab, probe
from benchmarks.wan.scenarios import Scenario
from benchmarks.wan.topology import Topology

_SECONDS = 6.0


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario's links; shares are of the set rate of the slowest link on the way."""

    name: str
    set_round_trip_s: float
    """Between the first host and the last."""
    round_trip_s: float
    one_share: float
    """The first host to the last, alone."""
    ring_bps: float
    ring_share: float
    """Of the flow that comes least near its rate."""
    link_cores: float
    """CPU seconds of the link process per second of the ring: the kernel's forwarding and receiving included."""
    core_drops: int


def measure(scenarios: Sequence[Scenario], say: Say) -> tuple[Links, ...]:
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
        f"one flow {one.one_share:.1%} of the rate, ring {one.ring_bps / 1e6:.0f} Mbit/s, worst {one.ring_share:.1%}, "
        f"{one.link_cores:.2f} cores, {one.core_drops} dropped"
        for one in found
    )


def _measure(scenario: Scenario) -> Links:
    topology = scenario.topology
    last = scenario.peers - 1
    with lab.started(topology) as built:
        round_trip_s = probe.round_trip_s(built, 0, last)
        one = probe.transfer(built, [(0, last)], seconds=_SECONDS)
        pairs = [(host, (host + 1) % scenario.peers) for host in range(scenario.peers)]
        ring = probe.transfer(built, pairs, seconds=_SECONDS)
    return Links(
        name=scenario.name,
        set_round_trip_s=2 * topology.one_way_s(0, last),
        round_trip_s=round_trip_s,
        one_share=one.bps / path_bps(topology, 0, last),
        ring_bps=ring.bps,
        ring_share=min(flow.bps / path_bps(topology, flow.source, flow.target) for flow in ring.flows),
        link_cores=ring.link_cpu_s / ring.seconds,
        core_drops=one.traffic.core_drops + ring.traffic.core_drops,
    )


def path_bps(topology: Topology, source: int, target: int) -> int:
    """The set rate of the slowest link between two hosts."""
    rates_bps = [topology.hosts[host].rate_bps for host in (source, target)]
    borders = (topology.border_index(source), topology.border_index(target))
    if borders[0] != borders[1]:
        rates_bps += [topology.borders[index].rate_bps for index in borders if index is not None]
    return min(rates_bps)
