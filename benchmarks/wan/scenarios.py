"""The networks that `tapestry bench wan` measures, by name, and what an ideal engine would need on each. Pure data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from benchmarks.wan import ideal
from benchmarks.wan.state_scenarios import STATE_SCENARIOS, StateScenario
from benchmarks.wan.topology import Border, Host, Topology
from swarm.errors import UsageError

_MBIT = 1_000_000
_ONE_REGION = "DE"
_TWO_REGIONS = ("DE", "JP")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A topology, the rules of the run on it, and how it is judged. Regions are named by a jurisdiction in them."""

    name: str
    about: str
    topology: Topology
    levels: Literal[1, 2] = 2
    """2: regions first, then across borders; 1: every peer reduces with every other."""
    min_contributors: int = 1
    max_mb: int | None = None
    """Caps the vector where its size is not the point."""

    @property
    def peers(self) -> int:
        return len(self.topology.hosts)

    def ideal_s(self, encoded_bytes: int) -> float:
        """The least data phase these links allow."""
        if self.topology.borders:
            rate_bps = min(border.rate_bps for border in self.topology.borders)
            return ideal.border_s(encoded_bytes=encoded_bytes, regions=len(self.topology.borders), rate_bps=rate_bps)
        rates_bps = [host.rate_bps for host in self.topology.hosts]
        return ideal.best_split_s(encoded_bytes=encoded_bytes, rates_bps=rates_bps)


def _hosts(*rates_mbit: int, region: str = _ONE_REGION) -> tuple[Host, ...]:
    return tuple(Host(rate_bps=rate * _MBIT, region=region) for rate in rates_mbit)


def _two_regions(*, border_mbit: int) -> Topology:
    return Topology(
        hosts=tuple(host for region in _TWO_REGIONS for host in _hosts(200, 200, 200, region=region)),
        borders=tuple(Border(region=region, rate_bps=border_mbit * _MBIT) for region in _TWO_REGIONS),
        round_trip_s=0.04,
    )


SCENARIOS = (
    Scenario(
        name="even-100",
        about="4 hosts, 100 Mbit/s, 40 ms round trip",
        topology=Topology(hosts=_hosts(100, 100, 100, 100), round_trip_s=0.04),
    ),
    Scenario(
        name="even-50",
        about="8 hosts, 50 Mbit/s, 40 ms round trip",
        topology=Topology(hosts=_hosts(50, 50, 50, 50, 50, 50, 50, 50), round_trip_s=0.04),
    ),
    Scenario(
        name="unequal-60",
        about="4 hosts, 100, 100, 60 and 60 Mbit/s, 40 ms round trip",
        topology=Topology(hosts=_hosts(100, 100, 60, 60), round_trip_s=0.04),
    ),
    Scenario(
        name="unequal-20",
        about="4 hosts, 100, 100, 100 and 20 Mbit/s, 40 ms round trip",
        topology=Topology(hosts=_hosts(100, 100, 100, 20), round_trip_s=0.04),
    ),
    Scenario(
        name="regions",
        about="2 regions of 3 hosts, 200 Mbit/s inside, one border of 50 Mbit/s and 40 ms; regions first",
        topology=_two_regions(border_mbit=50),
        min_contributors=3,
    ),
    Scenario(
        name="regions-flat",
        about="the same links, every peer with every other",
        topology=_two_regions(border_mbit=50),
        levels=1,
    ),
    Scenario(
        name="formation-100ms",
        about="8 hosts, 100 ms round trip, a small vector: how long a round takes to form",
        topology=Topology(hosts=_hosts(100, 100, 100, 100, 100, 100, 100, 100), round_trip_s=0.1),
        max_mb=1,
    ),
)


ALL = (*SCENARIOS, *STATE_SCENARIOS)


def chosen(names: Sequence[str]) -> tuple[Scenario | StateScenario, ...]:
    """The scenarios of these names in their order, or all.

    Raises:
        UsageError: no scenario has that name.
    """
    known = {scenario.name: scenario for scenario in ALL}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"there is no scenario {unknown[0]!r}; `--list` names them all")
    return tuple(known[name] for name in names) if names else ALL


def slower(scenario: Scenario | StateScenario, divisor: int) -> Scenario | StateScenario:
    """The scenario with every rate divided, for machines whose processors its own rates would fill."""
    if divisor == 1:
        return scenario
    about = f"{scenario.about}; every rate divided by {divisor}"
    return replace(scenario, about=about, topology=scenario.topology.slower(divisor))


def to_text(scenarios: Sequence[Scenario | StateScenario]) -> str:
    """A line for each."""
    return "\n".join(f"{scenario.name:<16} {scenario.about}" for scenario in scenarios)


def to_json(scenarios: Sequence[Scenario | StateScenario]) -> str:
    """The names and what they stand for, with the links."""
    listed = [{"name": one.name, "about": one.about, "topology": one.topology} for one in scenarios]
    return msgspec.json.format(msgspec.json.encode({"scenarios": listed}), indent=2).decode()
