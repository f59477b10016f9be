"""The networks on which `tapestry bench wan` measures a newcomer's way to the state, by name. Pure data.

The last host is the newcomer, all others are donors; the first of them may be liars. In a scenario with rounds the
donors average one vector after another without a pause, so that there is never a moment at which giving costs nothing.
"""

from dataclasses import dataclass

from benchmarks.wan.topology import Host, Topology

_MBIT = 1_000_000
_BITS = 8
STATE_MB = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class StateScenario:
    """A topology, and what its donors do meanwhile."""

    name: str
    about: str
    topology: Topology
    liars: int = 0
    """Donors, the first ones, of whose pieces every one is wrong."""
    with_rounds: bool = False
    """Measures what a download does to rounds, and not the download."""
    mb: int = STATE_MB
    """Size of the state, in units of 10^6 bytes."""

    @property
    def peers(self) -> int:
        return len(self.topology.hosts)

    def ideal_s(self, state_bytes: int) -> float:
        """The least time that the honest donors' links and the newcomer's allow, were there no headers."""
        *donors, newcomer = (host.rate_bps for host in self.topology.hosts)
        return state_bytes * _BITS / min(newcomer, sum(donors[self.liars :]))


def _donors_and_newcomer() -> Topology:
    hosts = (*(Host(rate_bps=100 * _MBIT) for _ in range(3)), Host(rate_bps=300 * _MBIT))
    return Topology(hosts=hosts, round_trip_s=0.04)


STATE_SCENARIOS = (
    StateScenario(
        name="state-3",
        about="a state of 400 MB from 3 donors of 100 Mbit/s to a newcomer of 300 Mbit/s, 40 ms round trip",
        topology=_donors_and_newcomer(),
    ),
    StateScenario(
        name="state-liar",
        about="the same, and every piece that one of the donors gives is wrong",
        topology=_donors_and_newcomer(),
        liars=1,
    ),
    StateScenario(
        name="state-rounds",
        about="the same links: rounds of the 3 donors without a newcomer, and while one downloads from them",
        topology=_donors_and_newcomer(),
        with_rounds=True,
    ),
)
